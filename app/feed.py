"""The numbered events of one run as this process knows them, and everybody here who waits for more.

A reader keeps its own place and takes whatever is there, so any number of readers costs one list and a slow one
holds nobody up. Knows neither HTTP nor Redis.
"""

import asyncio

from app.events import End, Event


class Feed:
    """Event n of the run is `events[n - 1]`; the last one is an `End`, exactly once."""

    def __init__(self, chat_id: str, run_id: str) -> None:
        self.chat_id = chat_id
        self.run_id = run_id
        self.events: list[Event] = []
        self.readers = 0
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def ended(self) -> bool:
        """Whether the terminal event is there."""
        return bool(self.events) and type(self.events[-1]) is End

    def add(self, *events: Event) -> None:
        """Appends and wakes the readers; they run in the loop's next turn and find all that came meanwhile."""
        self.events.extend(events)
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            if not reader.done():
                reader.set_result(None)

    async def beyond(self, number: int) -> None:
        """Returns when there is an event with a higher number, or never will be."""
        while len(self.events) <= number and not self.ended:
            reader = asyncio.get_running_loop().create_future()
            self._waiting.append(reader)
            await reader

    async def end(self) -> End:
        """Waits for the terminal event."""
        while not self.ended:
            await self.beyond(len(self.events))
        last = self.events[-1]
        assert isinstance(last, End)  # noqa: S101  # what `ended` says, for the type checker
        return last
