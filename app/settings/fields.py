"""Every setting of a backend, what it is for and what it may be. Knows no use of any."""

import socket
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.settings import addresses, checks, lists, redis_url

DAY = 86_400  # seconds
CENTURY = 52_560_000  # minutes: Redis counts milliseconds, and not for ever
MOST_WINDOW = 100_000_000


class Settings(BaseSettings):
    """One flat list; the order is the order of `.env.example` and of the README."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    http_port: int = Field(
        80, ge=1, le=65535, description="Public port of Nginx; 8080 where 80 cannot be bound"
    )
    http_bind: str = Field("", description="Address Nginx listens on, such as 127.0.0.1; empty: all")
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of proxies in front, whose X-Forwarded-For is believed",
    )
    base_path: str = Field(
        "", description="Path in front of everything, such as /chat, where a proxy gives us only that"
    )
    host: str = Field("0.0.0.0", description="Address a backend listens on")
    port: int = Field(8000, ge=1, le=65535, description="Port a backend listens on")
    environment: str = Field("production", pattern=r"^[a-z0-9-]{1,32}$", description="A name for the log")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["text", "json"] = Field("text", description="text or json, one line per record")
    backend_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name of this backend",
    )
    cors_origins: str = Field(
        "", description="Origins of other sites that may call the API, as in https://app.example, by commas"
    )
    allowed_hosts: str = Field(
        "",
        description="Host names we answer to; empty: any with API_KEYS, else only those of a home network",
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="name:key pairs, separated by commas, keys of 4 characters or more; empty: open to all",
    )

    redis_url: SecretStr = Field(
        SecretStr(""),
        description="redis:// or rediss:// URL, also for Sentinel and Cluster; wins over the four below",
    )
    redis_host: str = Field("127.0.0.1", description="Redis host")
    redis_port: int = Field(6379, ge=1, le=65535, description="Redis port")
    redis_db: int = Field(0, ge=0, le=2**31 - 1, description="Redis database number")
    redis_password: SecretStr = Field(SecretStr(""), description="Redis password")
    redis_prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._:-]{0,32}$",
        description="Begins every key and channel, where others share this Redis",
    )

    provider: Literal["demo", "ollama", "openai", "bedrock"] = Field(
        "demo", description="demo, ollama, openai (any server that speaks OpenAI's API) or bedrock"
    )
    aws_region: str = Field("us-west-2", description="Region of Bedrock")
    bedrock_model_id: str = Field(
        "amazon.nova-lite-v1:0",
        min_length=1,
        description="Bedrock model id or inference profile",
    )
    bedrock_temperature: float = Field(0.3, ge=0, le=1, description="Temperature for Bedrock, 0 to 1")
    ollama_host: str = Field("http://127.0.0.1:11434", description="Address of Ollama")
    ollama_model_general: str = Field(
        "qwen2.5:3b-instruct", min_length=1, description="Ollama model of every agent"
    )
    ctx_tokens: int = Field(
        4096, ge=256, le=MOST_WINDOW, description="Context window asked of Ollama, in tokens"
    )
    ollama_num_batch: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Tokens Ollama reads between two looks at a stop; 64 without a GPU; empty: its own",
    )
    openai_base_url: str = Field(
        "http://127.0.0.1:8080/v1", description="Address of an OpenAI-compatible server, with /v1"
    )
    openai_model_id: str = Field("default", min_length=1, description="Model asked of that server")
    openai_api_key: SecretStr = Field(SecretStr(""), description="Key for that server; empty: none is sent")
    openai_ctx_tokens: int | None = Field(
        None,
        ge=256,
        le=MOST_WINDOW,
        description="Context window of that model, in tokens; empty: what the server tells",
    )
    temperature: float = Field(0.7, ge=0, le=2, description="Temperature for Ollama and openai")
    max_tokens: int = Field(1024, ge=1, le=200_000, description="Longest reply, in tokens")

    enable_memory: bool = Field(True, description="false: no message is kept, each stands alone")
    memory_max_turns: int = Field(8, ge=1, le=1000, description="Newest messages that go to the model")
    memory_keep_messages: int = Field(200, ge=2, le=10_000, description="Newest messages kept per chat")
    memory_ttl_min: int = Field(
        60, ge=0, le=CENTURY, description="A chat expires this many minutes after its last activity; 0: never"
    )
    memory_max_conversations: int = Field(
        500, ge=1, le=10_000_000, description="Chats kept; beyond it the least recently used goes"
    )

    file_max_kb: int = Field(1024, ge=1, le=3840, description="Largest picture, in KB")
    files_max_mb: int = Field(32, ge=1, le=4096, description="All files of a key together, in MB")
    vision: Literal["auto", "true", "false"] = Field(
        "auto", description="Whether models see pictures: true, false, or auto: what they tell or refuse"
    )

    titles: Literal["first_words", "model"] = Field(
        "first_words", description="first_words, or model: it names a chat after its first reply"
    )

    stop_poll_ms: int = Field(
        100, ge=10, le=10_000, description="Safety poll of the stop keys, in milliseconds"
    )
    stop_ttl_seconds: int = Field(3600, ge=1, le=DAY, description="Longest life of a stop key")
    stop_grace_ms: int = Field(1000, ge=0, le=60_000, description="How long a stop waits for a run to begin")
    disconnect_grace_seconds: float = Field(
        60, ge=-1, le=DAY, description="A run without readers is stopped after this; 0: at once, -1: never"
    )
    replay_ttl_seconds: int = Field(600, ge=1, le=DAY, description="How long an ended run can be replayed")

    model_parallel: int = Field(
        0, ge=0, le=10_000, description="Replies made at once over all backends, the others wait; 0: no limit"
    )
    queue_max: int = Field(100, ge=1, le=10_000, description="Replies that may wait for their turn")
    key_max_runs: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Replies at once for one key (or address), waiting ones too; 0: no limit",
    )
    key_messages_per_minute: int = Field(
        0, ge=0, le=100_000, description="Messages a minute for one key (or address); 0: no limit"
    )
    max_runs: int = Field(200, ge=1, le=10_000, description="Runs at the same time per backend")
    message_max_chars: int = Field(4000, ge=1, le=200_000, description="Longest message, in characters")
    run_timeout_seconds: float = Field(1800, gt=0, le=DAY, description="Longest run")
    first_token_timeout_seconds: float = Field(
        900,
        gt=0,
        le=DAY,
        description="Longest silence before the first token; a small machine reads a long chat slowly",
    )
    token_timeout_seconds: float = Field(60, gt=0, le=DAY, description="Longest silence between two tokens")
    approval_timeout_seconds: float = Field(
        600, gt=0, le=DAY, description="A tool that waits for a person is refused after this"
    )
    shutdown_grace_seconds: float = Field(
        20, ge=0, le=DAY, description="Time for running replies to end after SIGTERM"
    )
    openai_door: bool = Field(True, description="false: no addresses of OpenAI's under /v1/")
    agents_dir: str = Field("", description="Folder with your own agent files (*.toml)")
    mcp_config: str = Field("", description="File that names MCP servers (mcpServers), for agents to use")
    mcp_tool_seconds: float = Field(60, gt=0, le=3600, description="Longest call of an MCP tool")
    tools_dir: str = Field("", description="Folder with your own tools (*.py), for agents to use")
    tool_timeout_seconds: float = Field(30, gt=0, le=3600, description="Longest call of a tool of yours")
    tool_memory_mb: int = Field(
        256, ge=96, le=65_536, description="Memory that one call of a tool of yours may take"
    )
    tools_network: bool = Field(False, description="true: tools of yours may reach the network")
    tools_env: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_, ]*$",
        description="Names of variables that tools of yours are given, by commas; no others are",
    )
    otel_exporter_otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]+)?$",
        description="Collector of traces (OTLP over HTTP), as in http://127.0.0.1:4318; empty: no traces",
    )
    trace_content: bool = Field(False, description="true: traces carry the words of messages and tools")
    demo_tokens_per_second: float = Field(30, gt=0, le=100_000, description="Pace of the demo model")

    _others_forms = model_validator(mode="before")(addresses.others_forms)
    _one_address = field_validator("http_bind")(addresses.one_address)
    _base_path = field_validator("base_path")(addresses.base_path)
    _networks = field_validator("trusted_proxies")(addresses.networks)
    _host_names = field_validator("allowed_hosts")(addresses.host_names)
    _ollama = field_validator("ollama_host")(addresses.ollama)
    _openai = field_validator("openai_base_url")(addresses.openai)
    _origins = field_validator("cors_origins")(addresses.origins)
    _region = field_validator("aws_region")(addresses.region)
    _words = field_validator("log_level", "log_format", "provider", "titles", "vision", mode="before")(
        checks.any_case
    )
    _grace = field_validator("disconnect_grace_seconds")(checks.never_or_more)
    _key = field_validator("openai_api_key")(checks.one_word)

    @model_validator(mode="after")
    def _readable_lists(self) -> Self:
        if not self.keys and "*" in self.origins:
            raise ValueError("CORS_ORIGINS=* without API_KEYS would let every page read all chats")
        if url := self.redis_url.get_secret_value():
            redis_url.read(url)
        return self

    @cached_property
    def keys(self) -> dict[str, str]:
        """API keys by owner name; empty when the server is open to all."""
        return lists.keys(self.api_keys.get_secret_value())

    @property
    def hosts(self) -> list[str]:
        """Host names we answer to, lower case."""
        return lists.hosts(self.allowed_hosts)

    @property
    def tool_variables(self) -> list[str]:
        """Names of the environment that go on to the user's tools."""
        return lists.words(self.tools_env)

    @property
    def origins(self) -> list[str]:
        """Foreign origins that may call the API, as browsers send them."""
        return lists.words(self.cors_origins.lower())

    @property
    def model_id(self) -> str:
        """The model a reply comes from unless an agent names its own."""
        return {
            "demo": "demo",
            "ollama": self.ollama_model_general,
            "openai": self.openai_model_id,
            "bedrock": self.bedrock_model_id,
        }[self.provider]
