"""What the service tells of itself: agents, health, status; and the older API."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.bodies.fields import AgentName, ChatId, MessageText
from app.api.bodies.runs import RunBody


class AgentBody(BaseModel):
    """An agent, the model it answers with and its tools."""

    name: str
    description: str
    provider: str
    model: str
    tools: list[str]


class AgentsBody(BaseModel):
    agents: list[AgentBody]


class AgentNames(BaseModel):
    agents: list[str]


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Health(BaseModel):
    """Whether a backend can serve, and what it is."""

    status: Literal["healthy", "unhealthy"]
    redis: Literal["connected", "disconnected"]
    trouble: str | None = Field(None, description="away, full, read-only, refusing or evicting")
    backend: str
    version: str
    provider: str
    model: str
    message_max_chars: int
    file_max_kb: int
    active_runs: int
    stop_listener: Literal["listening", "polling"]
    draining: bool


class RedisStatus(BaseModel):
    status: Literal["connected"] = "connected"
    version: str
    latency_ms: float
    used_memory_bytes: int | None
    maxmemory_policy: str | None


class LineStatus(BaseModel):
    """The line before a model that makes only `limit` replies at once."""

    limit: int
    working: int
    waiting: int


class StatusBody(BaseModel):
    """The backends, what they make, the line before the model, the stops of the last hour, and Redis."""

    backends: list[dict[str, Any]]
    runs: list[RunBody]
    line: LineStatus | None = Field(description="null: nobody has to wait (MODEL_PARALLEL=0)")
    stops: list[dict[str, Any]]
    redis: RedisStatus


class OlderAsk(BaseModel):
    """A message to the older API."""

    message: MessageText
    agent: AgentName = "general"
    stream: bool = False
    conversation_id: ChatId | None = None


class OlderReply(BaseModel):
    """A whole reply."""

    reply: str
    conversation_id: str
    model: str
    provider: str
    outcome: str
