"""What the errors of tools mean, in words that help a model and a reader. Knows neither Strands nor the
tools.
"""

from loguru import logger
from pydantic import ValidationError

MOST_WORDS = 300


def plain_words(error: BaseException) -> str:
    """What a tool's exception means, in one line."""
    match error:
        case ValueError(__cause__=ValidationError() as wrong):
            return "; ".join(f"{_name(one['loc'])}: {one['msg']}" for one in wrong.errors()[:5])[:MOST_WORDS]
        case ValueError(__cause__=TypeError()):
            return "the arguments do not fit"
        case ValueError() if str(error):
            return str(error).splitlines()[0][:MOST_WORDS]
        case TimeoutError():
            return "the tool took too long"
    logger.warning("error=<{}> | a tool failed", type(error).__name__)
    return "the tool failed"


def _name(place: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in place)[:60] or "arguments"
