"""What an OpenAI-compatible server tells of itself: its window, whether its model takes tools."""

import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from loguru import logger

ASK_SECONDS = 3
KNOWN_SECONDS = 300  # after which it is asked again: it may have been restarted
UNKNOWN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Server:
    """What a server tells of itself: its window in tokens (0: unknown), whether the model takes
    tools, and whether it is one that can tell how far it has read a prompt.
    """

    window: int = 0
    tools: bool = True
    progress: bool = False


class Asked:
    """The server of one model, asked now and then over a session that is shared."""

    def __init__(
        self, session: aiohttp.ClientSession, base: str, headers: dict[str, str], model_id: str
    ) -> None:
        self._session = session
        self._base = base
        self._headers = headers
        self._model_id = model_id
        self._ask_again = 0.0
        self.last = Server()

    async def now(self) -> Server:
        """What the server is, asked now and then; what it was before while it does not tell."""
        if time.monotonic() >= self._ask_again:
            self._ask_again = time.monotonic() + UNKNOWN_SECONDS
            if found := await self._llama_cpp() or await self._listed():
                self.last = found
                self._ask_again = time.monotonic() + KNOWN_SECONDS
        return self.last

    async def _llama_cpp(self) -> Server | None:
        """What llama.cpp's server tells, if it is one."""
        found = await self._get(f"{self._base.removesuffix('/v1')}/props")
        settings = found.get("default_generation_settings")
        if not isinstance(settings, dict):
            return None
        able = found.get("chat_template_caps")
        tools = able.get("supports_tools", True) if isinstance(able, dict) else True
        return Server(_count(settings.get("n_ctx")), bool(tools), progress=True)

    async def _listed(self) -> Server | None:
        """What the list of models tells of ours: vLLM and SGLang name the window there."""
        models = await self.models()
        if models is None:
            return None
        ours = [one for one in models if one.get("id") == self._model_id]
        windows = [_count(one.get(name)) for one in ours for name in ("max_model_len", "context_length")]
        return Server(window=max(windows, default=0))

    async def models(self) -> list[dict[str, Any]] | None:
        """The models that the server lists; None when it lists none."""
        models = (await self._get(f"{self._base}/models")).get("data")
        return [one for one in models if isinstance(one, dict)] if isinstance(models, list) else None

    async def _get(self, url: str) -> dict[str, Any]:
        """The JSON object there, empty when there is none."""
        try:
            async with self._session.get(
                url,
                headers=self._headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=ASK_SECONDS),
            ) as response:
                found = await response.json(content_type=None) if response.status == 200 else {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            logger.debug("error=<{}> | the server does not tell what it is", type(error).__name__)
            return {}
        return found if isinstance(found, dict) else {}


def _count(number: Any) -> int:
    return int(number) if isinstance(number, int | float) else 0
