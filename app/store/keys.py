"""Every key in Redis: the data model. `{…}` is a cluster hash tag, so the keys of one chat live together.

| key | type | holds | lives |
|---|---|---|---|
| `chat:{name}` | hash | agent, title, times; of a live run also run_id, attempt, run | `MEMORY_TTL_MIN` |
| `chat:{name}:messages` | list | `<milliseconds> <JSON>`, oldest first | as the chat |
| `chat:{name}:runs` | hash | run id -> `<digest>` while it lives, then also its ending | as the chat |
| `chat:{name}:early` | sorted set | run ids to stop at birth, by the time at which that lapses | 60 s |
| `chat:{name}:readers` | sorted set | readers on other backends, by the time at which they lapse | 15 s |
| `chat:{name}:events:<run id>` | stream | `n` -> `<name> <JSON>`, see `eventlog` | `REPLAY_TTL_SECONDS` |
| `chats`, `chats:<owner>` | sorted set | chat ids by last activity | kept in step |
| `stop:<name>` | string | run id, or Unix timestamp | `STOP_TTL_SECONDS` at most |
| `backends` | hash | process -> JSON of a backend | swept by the others |
| `alive:<process>` | string | heartbeat | 9 s |
| `held:<process>` | hash | attempt -> JSON of the run it makes | removed with the last run |
| `stopped` | sorted set | JSON of the stops of the last hour, by time | 1 h |
| `bells`, `bells:<process>` | channel | `stop <name> <value of the key>`, `ended <attempt>` | |
"""

from dataclasses import dataclass

BACKENDS = "backends"
STOPPED = "stopped"
BELLS = "bells"


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat of one owner; the owner is empty where no API keys are set."""

    owner: str
    id: str

    @property
    def name(self) -> str:
        """What tells it from every other chat: ids hold no colon."""
        return f"{self.owner}:{self.id}" if self.owner else self.id

    @property
    def key(self) -> str:
        return f"chat:{{{self.name}}}"

    @property
    def messages(self) -> str:
        return f"{self.key}:messages"

    @property
    def runs(self) -> str:
        return f"{self.key}:runs"

    @property
    def early(self) -> str:
        return f"{self.key}:early"

    @property
    def readers(self) -> str:
        return f"{self.key}:readers"

    @property
    def stop(self) -> str:
        return f"stop:{self.name}"

    def events(self, run_id: str) -> str:
        return f"{self.key}:events:{run_id}"


def index(owner: str) -> str:
    """The sorted set of an owner's chats."""
    return f"chats:{owner}" if owner else "chats"


def alive(process: str) -> str:
    return f"alive:{process}"


def bells(process: str) -> str:
    """The channel of one process: a stop need not wake them all."""
    return f"{BELLS}:{process}"


def held(process: str) -> str:
    return f"held:{process}"
