"""Every key in Redis: the data model. `{…}` is a cluster hash tag, so the keys of one chat live
together.

| key | type | holds | lives |
|---|---|---|---|
| `chat:{name}` | hash | agent, title, times, instructions, temperature, chosen agent, `named` by a person, last_run, `first` and `bytes` (see `scripts`), version (the highest number of one); `may:<tool>` as answered for the chat; so that what is asked twice is done once: swapped, forked, brought, taken_back; handed (when a stop handed back what waited, and the run it named), way (who goes ahead of what waits, until when); of a live run: run_id, attempt, run, continues, asked, seen, and what UNDO needs: before, cut, came, waited | `MEMORY_TTL_MIN` |
| `chat:{name}:messages` | list | `<milliseconds> <run id> <JSON>`, oldest first; `~…` for the id where no run asked, see `becoming` | as the chat |
| `chat:{name}:runs` | hash | run id -> JSON of its record, see `records` | as the chat |
| `chat:{name}:ids` | list | run ids, oldest first; the newest 256 are known | as the chat |
| `chat:{name}:versions` | hash | version -> `<run id that stands there> <place>`, `<version>:bytes` -> what it weighs; 10 at most | as the chat |
| `chat:{name}:versions:<version>` | list | its messages, as above | as the chat |
| `chat:{name}:files` | hash | file id -> its token and JSON, `<file id>:<n>` -> a piece of its bytes, see `files`; 100 files at most | as the chat; where there is none yet as one at rest |
| `chat:{name}:early` | sorted set | run ids to stop at birth, by the time at which that lapses | 60 s |
| `chat:{name}:queue` | list | `<run id> <milliseconds> <JSON>` of the messages that wait, see `waiting` | as the chat |
| `chat:{name}:unsent` | list | the messages that the last stop handed back | as the chat, until the next message |
| `chat:{name}:approvals` | hash | tool calls of a run that wait for a person, and the answers, see `approvals` | `APPROVAL_TIMEOUT_SECONDS` and a minute |
| `chat:{name}:gone` | string | who has deleted the chat, so that it is told so when asked twice | 10 s |
| `chat:{name}:readers` | sorted set | readers on other backends, by the time at which they lapse | 15 s |
| `chat:{name}:events:<run id>` | stream | `n` -> `<name> <JSON>`, see `eventlog` | `REPLAY_TTL_SECONDS` |
| `response:<owner>:<run id>` | string | JSON of how a run was asked for at OpenAI's door, see `responses` | as the chat |
| `files`, `files:<owner>` | hash | chat id -> what its files weigh, `:total`; `FILES_MAX_MB` at most, `MEMORY_MAX_CONVERSATIONS` and 1,000 chats | set right when a chat is deleted, and when there is no room left |
| `chats`, `chats:<owner>` | sorted set | chat ids by last activity | kept in step |
| `queued` | sorted set | names of chats with a queue, by the time of the last message put there | kept in step |
| `stop:<name>` | string | run id, or Unix timestamp | `STOP_TTL_SECONDS` at most |
| `backends` | hash | process -> JSON of a backend | swept by the others |
| `alive:<process>` | string | heartbeat | 9 s |
| `held:<process>` | hash | attempt -> JSON of the run it makes | removed with the last run |
| `minute:<asker>:<minute>` | string | messages of a key or address, where `KEY_MESSAGES_PER_MINUTE` bounds them | 2 min |
| `{queue}:…` | | who waits for a model that is busy, see `queue` | 1 h |
| `stopped`, `stopped:<owner>` | sorted set | JSON of the stops of the last hour, by time | 1 h |

Messages (with their parts) and versions share one budget of 2 MB a chat, counted in `bytes`: the
oldest versions go first, then the oldest messages. The bytes of files have a budget of their own,
`FILES_MAX_MB` for each owner. What a hash holds besides is bounded by 4,000
characters of instructions and a word for each tool that was answered for the chat.

Channels, behind the database's number: `bells` to all, `bells:<process>` to one; see `bells`.
`REDIS_PREFIX` stands before every key and channel. While a run lives the keys of its chat have no
end: a clock may jump."""  # noqa: E501  # one row a key

from dataclasses import dataclass

from app.clock import LEASE_SECONDS

BACKENDS = "backends"
QUEUED = "queued"

# what a script's keys are, by the names it has for them: what stands there in another type is none
# of ours
TYPES = {
    **dict.fromkeys(("chat", "runs", "versions", "approvals", "who", "tickets", "files", "weights"), "hash"),
    **dict.fromkeys(("messages", "ids", "queue", "unsent"), "list"),
    **dict.fromkeys(("early", "index", "queued", "waiting", "working", "until_"), "zset"),
    "events": "stream",
    "gone": "string",
}


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat of one owner; the owner is empty where no API keys are set."""

    owner: str
    id: str

    @property
    def name(self) -> str:
        """What tells it from every other chat: ids hold no colon."""
        return f"{self.owner}:{self.id}" if self.owner else self.id

    @classmethod
    def named(cls, name: str) -> "Chat":
        """The chat of this name."""
        owner, _, chat_id = name.rpartition(":")
        return cls(owner, chat_id)

    @classmethod
    def of_key(cls, key: str) -> "Chat":
        """The chat that has this key."""
        return cls.named(key.removeprefix("chat:{").removesuffix("}"))

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
    def ids(self) -> str:
        return f"{self.key}:ids"

    @property
    def versions(self) -> str:
        return f"{self.key}:versions"

    @property
    def early(self) -> str:
        return f"{self.key}:early"

    @property
    def queue(self) -> str:
        return f"{self.key}:queue"

    @property
    def unsent(self) -> str:
        return f"{self.key}:unsent"

    @property
    def approvals(self) -> str:
        return f"{self.key}:approvals"

    @property
    def gone(self) -> str:
        return f"{self.key}:gone"

    @property
    def files(self) -> str:
        return f"{self.key}:files"

    @property
    def readers(self) -> str:
        return f"{self.key}:readers"

    @property
    def stop(self) -> str:
        return f"stop:{self.name}"

    def keys(self) -> dict[str, str]:
        """What every script that changes a chat takes."""
        names = ("messages", "runs", "ids", "versions", "queue", "files")
        return {"chat": self.key, **{name: f"{self.key}:{name}" for name in names}}

    def events(self, run_id: str) -> str:
        return f"{self.key}:events:{run_id}"


def index(owner: str) -> str:
    """The sorted set of an owner's chats."""
    return f"chats:{owner}" if owner else "chats"


def file_weights(owner: str) -> str:
    """What the files of an owner's chats weigh."""
    return f"files:{owner}" if owner else "files"


def response(owner: str, run_id: str) -> str:
    """How this run was asked for at OpenAI's door."""
    return f"response:{owner}:{run_id}"


def stopped(owner: str) -> str:
    """The sorted set of an owner's stops."""
    return f"stopped:{owner}" if owner else "stopped"


def minute_key(who: str, minute: int) -> str:
    """The messages of an asker in one minute."""
    return f"minute:{who}:{minute}"


def lease(process: str) -> str:
    return f"alive:{process}"


def beats(left_ms: int) -> bool:
    """Whether a lease with so long to live is a heartbeat; one without an end, or a long one, is none."""
    return 0 < left_ms <= LEASE_SECONDS * 1000


def held(process: str) -> str:
    return f"held:{process}"
