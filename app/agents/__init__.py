"""Strands: agents, tools, models. Nothing outside this folder imports strands."""
