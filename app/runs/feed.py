"""The numbered events of one run as this process knows them, and everybody here who waits for more.

A reader keeps its own place and takes whatever is there, so any number of readers costs one list
and a slow one holds nobody up. Readers see an event once it is safe: in the log in Redis, or while
Redis is in trouble, at once. So what anybody has read is still there when this process dies. Knows
neither HTTP nor Redis.
"""

import asyncio

from app.events import End, Event


class Feed:
    """Event n of the run is `events[n - 1]`; the last one is an `End`, exactly once.

    Two marks: the log in Redis has the first `logged` for certain, readers see the first `shown`.
    """

    def __init__(self, chat_id: str, run_id: str) -> None:
        self.chat_id = chat_id
        self.run_id = run_id
        self.events: list[Event] = []
        self.logged = 0
        self.shown = 0
        self.readers = 0
        self.abandoned = False
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def ended(self) -> bool:
        """Whether the terminal event is there; then everything is shown."""
        return bool(self.events) and type(self.events[-1]) is End

    @property
    def unlogged(self) -> list[Event]:
        """The events that the log may lack."""
        return self.events[self.logged :]

    def add(self, *events: Event) -> None:
        """Appends events that are safe, and shows all."""
        self.events.extend(events)
        self.show()

    def was_logged(self, number: int) -> None:
        """The log ends with this number, and readers may see what it has.

        It is less than before when Redis has lost the end of the log.
        """
        self.logged = number
        self.show(number)

    def show(self, number: int | None = None) -> None:
        """Shows the events up to this number (all without one); readers run in the loop's next turn."""
        number = len(self.events) if number is None else number
        if number > self.shown:
            self.shown = number
            self._wake()

    def abandon(self) -> None:
        """No more will come here, though the run goes on elsewhere."""
        self.abandoned = True
        self._wake()

    def forget_unshown(self) -> None:
        """Drops what nobody has seen and nobody will."""
        del self.events[self.shown :]

    async def beyond(self, number: int) -> None:
        """Returns when an event with a higher number is shown, or never will be."""
        while self.shown <= number and not self.ended and not self.abandoned:
            reader = asyncio.get_running_loop().create_future()
            self._waiting.append(reader)
            await reader

    async def end(self) -> End:
        """Waits for the terminal event."""
        while not self.ended:
            await self.beyond(self.shown)
        last = self.events[-1]
        assert isinstance(last, End)  # noqa: S101  # what `ended` says, for the type checker
        return last

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            if not reader.done():
                reader.set_result(None)
