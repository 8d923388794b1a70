"""Somebody who does everything that can be done to a chat, at random, and looks what came of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from tests.world.doer import MOST_CHATS, Doer, shown
from tests.world.insistent import PATIENCE_SECONDS
from tests.world.rough import Rough
from tests.world.thread import Thread

LONG = 60  # deeds in one chat, then it is deleted


class Talker(Doer):
    """One person, with a key of its own, and what must stand in each of its chats."""

    def __init__(self, name: str, rough: Rough, keep: int, seed: str) -> None:
        super().__init__(name, rough, keep, seed)
        self.deeds = 0
        self.late = 0  # stops that were
        self._age: dict[str, int] = {}

    async def act(self) -> None:
        """One deed, and a look at what became of it."""
        self.deeds += 1
        if not self.threads or (len(self.threads) < MOST_CHATS and self.chance.random() < 0.1):
            thread = self.adopt(Thread(self.new("chat"), self.keep))
        else:
            thread = self.chance.choice(list(self.threads.values()))
        self._age[thread.chat_id] = self._age.get(thread.chat_id, 0) + 1
        deed = self._deed(thread)
        self.log[thread.chat_id].append(deed.__name__)
        await deed(thread)
        if thread.chat_id in self.threads:
            await self.agree(self.threads[thread.chat_id])

    def _deed(self, thread: Thread) -> Callable[[Thread], Awaitable[None]]:
        if not thread.messages:
            return self.send
        if self._age[thread.chat_id] > LONG:
            return self.delete
        weights: dict[Callable[[Thread], Awaitable[None]], int] = {
            self.send: 12, self.stop: 8 if thread.live else 1, self.replace: 5, self.go_on: 5, self.swap: 6,
            self.fork: 2, self.edit: 2, self.take_back: 2 if thread.queued else 0,
            self.stop_early: 0 if thread.live else 1, self.set_key: 2 if thread.live else 0,
            self.put_in: 0 if thread.live else 2, self.delete: 1,
            self.bring: 0 if self.rough.redis_link.drop_fraction else 4,  # it cannot be sent again
        }  # fmt: skip
        return self.chance.choices([*weights], [*weights.values()])[0]

    # what others do to it

    async def backends(self) -> dict[str, str]:
        """Which backend makes what runs in which chat."""
        found = {}
        for thread in self.threads.values():
            if thread.live:
                info = await self.wire.info(thread.chat_id)
                found[thread.chat_id] = info["run"]["backend"] if info["run"] else ""
        return found

    async def lost(self, chat_ids: list[str]) -> None:
        """What these chats were being told is lost; some wait for that, some stop it."""
        for chat_id in chat_ids:
            thread = self.threads[chat_id]
            self.log[chat_id].append("lost")
            assert thread.live
            way = self.chance.choice(["wait", "stop", "stop by id"])
            if way != "wait":
                body = {"run_id": thread.live.run_id} if way == "stop by id" else {}
                await self.wire.ask_to_stop(chat_id, body)
                thread.stop(all_of_it=not body)
            thread.end("failed", shown(thread.live), is_open=True)
            self._advance(thread)
        for chat_id in chat_ids:
            await self.agree(self.threads[chat_id])

    # agreement

    async def agree(self, thread: Thread) -> None:
        """The service comes to show what must stand there, and all of a reply that is held."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            info = await self.wire.info(thread.chat_id)
            found, wanted = told(info), self._wanted(thread)
            if found == wanted:
                break
            if self._late(thread, info):
                continue
            if time.monotonic() > deadline:
                log = " ".join(self.log[thread.chat_id][-15:])
                raise AssertionError(
                    f"{self.name} {thread.chat_id} after {log}:\n{differences(found, wanted)}"
                )
            await asyncio.sleep(0.02)
        self.infos[thread.chat_id] = info
        if thread.live and not thread.live.frames:
            await self.wire.catch_up(thread.chat_id, thread.live)

    def _late(self, thread: Thread, info: dict[str, Any]) -> bool:
        """Whether a stop was not heard within 1.5 s, so that the reply was taken for lost: on a machine that
        is too busy that is as it should be.
        """
        if told(info)["run"] != self._wanted(thread)["run"]:
            return False  # it has not ended: what goes on in a lost reply shows that until then
        lost = set(lost_runs(info["messages"]))
        every = [*thread.messages, *(one for past in thread.versions for one in past.messages)]
        late = [one for one in every if one.outcome == "stopped" and one.run_id in lost]
        for one in late:
            one.outcome = "failed"
        self.late += len(late)
        return bool(late)

    async def listed(self) -> None:
        """The list has the chats, and no other."""
        rows = (await self.wire.ask("GET", "/api/v1/chats?limit=200")).json()["chats"]
        assert {row["chat_id"] for row in rows} == {
            one.chat_id for one in self.threads.values() if one.messages
        }

    @staticmethod
    def _wanted(thread: Thread) -> dict[str, Any]:
        return {
            "run": thread.live and thread.live.run_id,
            "messages": thread.shown(),
            "queued": [(w.run_id, w.text) for w in thread.queued],
            "unsent": [(w.run_id, w.text) for w in thread.unsent],
            "title": thread.title or None,
            **{name: getattr(thread, name) for name in ("agent", "instructions", "temperature")},
        }


def lost_runs(messages: list[dict[str, Any]]) -> Iterator[str]:
    """The runs among these messages, and in their versions, whose backend was taken for lost."""
    for one in messages:
        error = (one.get("facts") or {}).get("error") or {}
        if one.get("outcome") == "failed" and error.get("code") == "backend_lost":
            yield one["run_id"]
        for version in one.get("versions", ()):
            yield from lost_runs(version["messages"])


def told(info: dict[str, Any]) -> dict[str, Any]:
    """What the service tells of a chat, as the model has it."""
    waiting = {name: [(w["run_id"], w["message"]) for w in info[name]] for name in ("queued", "unsent")}
    about = {name: info[name] for name in ("title", "agent", "instructions", "temperature")}
    run = info["run"] and info["run"]["run_id"]
    return {"run": run, "messages": [message(one) for one in info["messages"]], **waiting, **about}


def message(one: dict[str, Any]) -> dict[str, Any]:
    names = ("type", "text", "name", "status", "output")
    parts = [{name: part[name] for name in names if name in part} for part in one.get("parts") or ()]
    return {
        **{name: one.get(name) for name in ("role", "content", "run_id", "outcome")},
        "parts": parts or None,
        "continued": (one.get("facts") or {}).get("continued", 0),
        "versions": [[message(m) for m in version["messages"]] for version in one.get("versions", ())],
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}:\n  found  {found[name]!r}\n  wanted {wanted[name]!r}"
        for name in wanted
        if found[name] != wanted[name]
    )
