"""From settings to models: one Strands model per model id, built when first used, shared by all runs."""

from contextlib import AsyncExitStack
from typing import Any

from strands.models import Model

from app.agents.catalog import AgentFile
from app.settings import Settings


class Models:
    """The models of the provider in the settings.

    Opened by `async with`; imports only what that provider needs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._built: dict[str, Model] = {}
        self._client: Any = None

    async def __aenter__(self) -> "Models":
        most = self._settings.max_runs + 8
        if self._settings.provider == "ollama":
            from app.agents.models.ollama import open_session

            self._client = await self._stack.enter_async_context(open_session(most))
        elif self._settings.provider == "bedrock":
            from app.agents.models.bedrock import open_client

            self._client = await open_client(self._stack, self._settings.aws_region, most)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def id_for(self, agent: AgentFile) -> str:
        """The model id this agent answers with."""
        if self._settings.provider == "demo":
            return "demo"
        return agent.models.get(self._settings.provider, self._settings.model_id)

    def model_for(self, agent: AgentFile) -> Model:
        """The model this agent answers with."""
        model_id = self.id_for(agent)
        if model_id not in self._built:
            self._built[model_id] = self._build(model_id)
        return self._built[model_id]

    async def knows_tools(self, model: Model) -> bool:
        """Whether tools may be offered to this model."""
        if self._settings.provider != "ollama":
            return True
        from app.agents.models.ollama import LeanOllamaModel

        return isinstance(model, LeanOllamaModel) and await model.knows_tools()

    def _build(self, model_id: str) -> Model:
        settings = self._settings
        if settings.provider == "demo":
            from app.agents.models.demo import DemoModel

            return DemoModel(settings.demo_tokens_per_second)
        if settings.provider == "ollama":
            from app.agents.models.ollama import LeanOllamaModel

            return LeanOllamaModel(
                self._client,
                settings.ollama_host,
                model_id=model_id,
                temperature=settings.temperature,
                max_tokens=settings.max_tokens,
                options={"num_ctx": settings.ctx_tokens},
            )
        import boto3

        from app.agents.models.bedrock import AioBedrockModel

        config = {} if settings.bedrock_temperature is None else {"temperature": settings.bedrock_temperature}
        return AioBedrockModel(
            self._client,
            boto3.Session(region_name=settings.aws_region),
            model_id=model_id,
            max_tokens=settings.max_tokens,
            **config,
        )
