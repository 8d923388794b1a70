"""Strands: agents, tools, models. Nothing outside this folder imports strands."""

from app.agents.later import put_off

put_off()
