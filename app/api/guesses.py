"""Wrong API keys are counted and told to the operator, once a minute at most. Knows no keys."""

import asyncio

from loguru import logger

SECONDS = 60.0


class Guesses:
    """Those of one backend; Nginx' access log has the addresses they come from."""

    def __init__(self) -> None:
        self._count = 0

    def count(self) -> None:
        """One more; the first is told at once, the others together."""
        self._count += 1
        if self._count == 1:
            logger.warning("a wrong API key was sent; more of them are counted and told in a minute")
            asyncio.get_running_loop().call_later(SECONDS, self._tell)

    def _tell(self) -> None:
        if self._count > 1:
            logger.warning("guesses=<{}> | wrong API keys within a minute", self._count)
        self._count = 0
