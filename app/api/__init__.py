"""HTTP: routes, streams, errors, access. Nothing outside this folder imports FastAPI.

A door is one file here with a `router`, named in `DOORS`.
"""

from fastapi import APIRouter

from app.api import (
    agents,
    agui,
    approvals,
    chats,
    everything,
    figures,
    files,
    health,
    older,
    openai,
    pages,
    queue,
    responses,
    runs,
    stops,
)

DOORS = (
    chats,
    files,
    queue,
    everything,
    stops,
    approvals,
    runs,
    agents,
    older,
    openai,
    responses,
    agui,
    health,
    figures,
)

__all__ = ["pages", "routers"]


def routers() -> list[APIRouter]:
    """The routes of every door."""
    return [door.router for door in DOORS]
