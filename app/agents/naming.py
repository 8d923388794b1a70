"""Lets a model name a chat: one short call without tools, whose failure nobody sees."""

from contextlib import AsyncExitStack, aclosing

from app.agents.abilities import with_prompt
from app.agents.catalog import AgentFile
from app.agents.models.provider import Provider, open_provider
from app.settings import Settings

MOST_TOKENS = 16
MOST_CHARS = 600  # of the question and of the reply

_PROMPT = (
    "You name conversations. Answer with a title of two to six words in the language of the conversation, "
    "without quotes and without a full stop, and nothing else."
)


class Namer:
    """Opened with the stack of the answerer; has models of its own, which say no more than a name."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    @classmethod
    async def opened(cls, settings: Settings, stack: AsyncExitStack) -> "Namer":
        """The provider of the settings, with short answers."""
        short = settings.model_copy(update={"max_tokens": MOST_TOKENS})
        return cls(await open_provider(short, stack))

    async def words_for(self, agent: AgentFile, question: str, reply: str) -> str:
        """A name in the model's words; whatever the model raises."""
        able = await self._provider.abilities(agent)
        asked = f"Question:\n{question[:MOST_CHARS]}\n\nAnswer:\n{reply[:MOST_CHARS]}\n\nTitle:"
        messages = [{"role": "user", "content": [{"text": asked}]}]
        if not able.system:
            messages = with_prompt(messages, _PROMPT)  # type: ignore[arg-type, assignment]  # of that shape
        model = self._provider.model_for(agent)
        said = ""
        async with aclosing(model.stream(messages, None, _PROMPT if able.system else None)) as chunks:  # type: ignore[arg-type, type-var]  # as above
            async for chunk in chunks:
                said += chunk.get("contentBlockDelta", {}).get("delta", {}).get("text") or ""
        return said
