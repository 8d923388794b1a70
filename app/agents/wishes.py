"""What one question asks of its model beside its words, within the limits of the settings. Knows no
provider.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

from strands.models import Model

from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Wishes:
    """`system` comes under the prompt of the agent; without `tools` the model is offered none."""

    system: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    tools: bool = True


PLAIN = Wishes()


def wished(wishes: Wishes, instructions: str, temperature: float | None) -> Wishes:
    """What a question wants, and where it wants nothing, what its chat does."""
    system = "\n\n".join(text for text in (instructions, wishes.system) if text)
    warmth = temperature if wishes.temperature is None else wishes.temperature
    return replace(wishes, system=system, temperature=warmth)


def tuned(model: Model, wishes: Wishes, settings: Settings) -> Model:
    """The model as this question wants it; itself where it wants nothing. A copy shares its connections."""
    config = getattr(model, "config", {})
    wanted: dict[str, Any] = {}
    if wishes.max_tokens is not None and "max_tokens" in config:
        wanted["max_tokens"] = min(wishes.max_tokens, settings.max_tokens)
    if wishes.temperature is not None and "temperature" in config:
        wanted["temperature"] = min(wishes.temperature, 1.0 if settings.provider == "bedrock" else 2.0)
    if not wanted:
        return model
    own: Any = copy.copy(model)
    vars(own).update({name: list(value) for name, value in vars(own).items() if type(value) is list})
    own.config = {**config, **wanted}
    return own  # type: ignore[no-any-return]
