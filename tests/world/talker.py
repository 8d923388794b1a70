"""Somebody who does everything that can be done to a chat, at random, and knows what must come of it."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.world.client import Client, Stream
from tests.world.fakes.reply import Exchange, Failure, Reply, ToolCall
from tests.world.redis_server import connect
from tests.world.rough import Rough
from tests.world.thread import Live, Parts, Past, Thread, Waits

MOST_CHATS = 4
LONG = 60  # deeds in one chat, then it is deleted
PATIENCE_SECONDS = 60.0
AGAIN = {429, 502, 503, 504}
KINDS = ["plain", "plain", "held", "held", "held", "cut", "tool", "cuttool", "broken", "empty"]
GO_ON = "Go on exactly"


def kind_of(asked: str, before: str) -> tuple[str, str]:
    """How a question is answered, and the first word; one to go on by how much there is already."""
    if asked.startswith(GO_ON):
        return ("plain", "held", "cut")[len(before) % 3], f"+{len(before)} "
    return asked.split(maxsplit=1)[0], f"{asked} is "


def play(exchange: Exchange) -> Reply:
    """What the model says: the same to the same question."""
    before = [str(m.get("content", "")) for m in exchange.body["messages"] if m["role"] == "assistant"]
    asked = exchange.asked.rpartition("\n\n")[2]  # of questions behind each other the last
    kind, first = kind_of(asked, before[-1] if before else "")
    tool = ToolCall("calculate", {"expression": "6 * 7"})
    return {
        "plain": Reply(tokens=[first, "answered. "]),
        "held": Reply(tokens=[first, "half "], fault="stall", fault_after=2),
        "cut": Reply(tokens=[first, "cut "], stop_reason="length"),
        "tool": Reply(tokens=[first, "42. "], tool=tool, thinking=["hm"]),
        "cuttool": Reply(tokens=[first, "42 "], tool=tool, thinking=["hm"], stop_reason="length"),
        "broken": Reply(tokens=[first, "bro "], fault="error", fault_after=2),
        "empty": Reply(refuse=True, failure=Failure(500)),
    }[kind]


def expected(kind: str, first: str) -> tuple[str, str, Parts, bool]:
    """Outcome, text, steps of a reply that ends by itself, and whether it can go on."""
    thought = {"type": "reasoning", "text": "hm"}
    used = {"type": "tool", "name": "calculate", "status": "done", "output": "42"}
    words = {"plain": "answered. ", "cut": "cut ", "tool": "42. ", "cuttool": "42 ", "broken": "bro "}
    text = first + words[kind] if kind in words else ""
    outcome = "failed" if kind in ("broken", "empty") else "done"
    parts = [thought, used, thought, {"type": "text", "text": text}] if "tool" in kind else None
    return outcome, text, parts, kind in ("cut", "cuttool", "broken", "empty")


class Talker:
    """One person, with a key of its own, and what must stand in each of its chats."""

    def __init__(self, name: str, rough: Rough, keep: int, seed: str) -> None:
        self.name = name
        self.rough = rough
        self.keep = keep
        self.chance = random.Random(seed)
        self.threads: dict[str, Thread] = {}
        self.deeds = 0
        self.retries = 0
        self.log: dict[str, list[str]] = {}
        self._infos: dict[str, dict[str, Any]] = {}
        self._number = 0
        self._age: dict[str, int] = {}
        self.client: Client = rough.cluster.client(key=f"key-of-{name}")

    async def act(self) -> None:
        """One deed, and a look at what became of it."""
        self.deeds += 1
        if not self.threads or (len(self.threads) < MOST_CHATS and self.chance.random() < 0.1):
            thread = self._adopt(Thread(self._new("chat"), self.keep))
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

    # deeds

    async def send(self, thread: Thread) -> None:
        on_busy = self.chance.choice(["reject", "replace", "queue", "queue", "queue"])
        await self._ask(thread, on_busy=on_busy)

    async def replace(self, thread: Thread) -> None:
        questions = [m.run_id for m in thread.messages if m.role == "user" and m.run_id]
        on_busy = self.chance.choice(["reject", "replace"])
        await self._ask(thread, replaces=self.chance.choice([*questions, "nobody-knows-it"]), on_busy=on_busy)

    async def go_on(self, thread: Thread) -> None:
        replies = [m.run_id for m in thread.messages if m.role == "assistant" and m.run_id]
        if not replies:
            return
        last = replies[-1] if self.chance.random() < 0.8 else self.chance.choice(replies)
        await self._ask(thread, continues=last, on_busy="reject")

    async def _ask(self, thread: Thread, *, on_busy: str, replaces: str = "", continues: str = "") -> None:
        run_id, kind = self._new("run"), self.chance.choice(KINDS)
        text, before = f"{kind} {run_id}", ""
        agent = "general" if "tool" in kind else self.chance.choice(["", "", "", "poet"])
        body = {"run_id": run_id, "on_busy": on_busy, **({"agent": agent} if agent else {})}
        body |= {"replaces": replaces} if replaces else {}
        if continues:
            before = thread.messages[-1].content
            kind, first = kind_of(GO_ON if before.strip() else thread.messages[-2].content, before)
            body["continues"] = continues
        else:
            first, body["message"] = f"{text} is ", text
        status, answer, stream = await self._post(thread.chat_id, body)
        refusal = self._refusal(thread, on_busy, replaces, continues)
        if refusal:
            assert (status, answer.get("code")) == refusal, f"{status} {answer}, not {refusal}"
            return None
        agent = agent or thread.chosen or "general"
        if thread.live and on_busy == "queue":
            assert status == 202, f"{status} {answer}"
            thread.queued.append(Waits(run_id, text, agent))
            return None
        if thread.live:
            thread.end("stopped", shown(thread.live), is_open=True)
        if replaces and thread.place(replaces) is None:  # one too many was kept: it was the oldest
            assert status == 404
            return self._advance(thread)
        assert status == 200, f"{status} {answer}"
        thread.begin(run_id, text, agent, replaces, continues)
        return self._went(thread, kind, first, stream)

    def _refusal(
        self, thread: Thread, on_busy: str, replaces: str, continues: str
    ) -> tuple[int, str | None] | None:
        """The status and code with which it must be refused."""
        if replaces and thread.place(replaces) is None:
            return 404, "not_found"
        if thread.live and on_busy == "reject":
            return 409, "chat_busy"
        if thread.live and on_busy == "queue" and len(thread.queued) >= 10:
            return 409, "queue_full"
        if continues and not (thread.can_go_on() and thread.messages[-1].run_id == continues):
            return 409, "not_open"
        return None

    def _went(self, thread: Thread, kind: str, first: str, stream: Stream | None) -> None:
        if kind == "held":
            assert thread.live
            thread.live.frames = frames(stream) if stream else []
            return
        outcome, text, parts, is_open = expected(kind, first)
        if stream:
            found = (stream.outcome, stream.text)
            assert found == (outcome, text), f"{found} and not {(outcome, text)} of {stream.run_id}"
        thread.end(outcome, text, parts, is_open=is_open)
        self._advance(thread)

    def _advance(self, thread: Thread) -> None:
        """What waits is answered."""
        while thread.queued and not thread.live:
            one = thread.queued.pop(0)
            thread.begin(one.run_id, one.text, one.agent)
            self._went(thread, *kind_of(one.text, ""), None)

    async def stop(self, thread: Thread) -> None:
        live = thread.live
        body: dict[str, Any] = {}
        if thread.queued and self.chance.random() < 0.15:
            return await self._stop_waiting(thread)
        by_id = bool(live) and self.chance.random() < 0.5
        if live and by_id:
            body["run_id"] = live.run_id
        seen = None
        if live and self.chance.random() < 0.6:
            seen = body["seen"] = self.chance.choice([0, *(n for n, _ in live.frames)])
        answer, again = await self._stop(thread.chat_id, body)
        if not by_id and not again:
            assert [one["run_id"] for one in answer["unsent"]] == [
                w.run_id for w in thread.queued
            ] or not live
        if not live:
            assert answer["result"] in ("already_finished", "pending")
            return None
        assert answer["result"] in ("stopped", "already_finished") if again else ("stopped",), answer
        thread.stop(all_of_it=not by_id)
        thread.end("stopped", shown(live, seen), is_open=True)
        return self._advance(thread)

    async def _stop_waiting(self, thread: Thread) -> None:
        one = self.chance.choice(thread.queued)
        answer, again = await self._stop(thread.chat_id, {"run_id": one.run_id})
        assert again or [w["run_id"] for w in answer["unsent"]] == [one.run_id]
        thread.queued.remove(one)
        thread.unsent = [one]

    async def stop_early(self, thread: Thread) -> None:
        run_id = self._new("run")
        answer, _ = await self._stop(thread.chat_id, {"run_id": run_id})
        assert answer["result"] == "pending"
        body = {"run_id": run_id, "message": f"plain {run_id}", "agent": "general"}
        status, told, stream = await self._post(thread.chat_id, body)
        assert (status, stream and stream.outcome) == (200, "stopped"), told
        thread.begin(run_id, body["message"], "general")
        thread.end("stopped", "", is_open=True)

    async def set_key(self, thread: Thread) -> None:
        """Another program stops what runs."""
        assert thread.live
        async with connect(self.rough.redis.url) as redis:
            await redis.set(f"stop:{self.name}:{thread.chat_id}", str(int(time.time() * 1000)), ex=60)
        thread.stop(all_of_it=True)
        thread.end("stopped", shown(thread.live), is_open=True)

    async def swap(self, thread: Thread) -> None:
        found = thread.swappable()
        if not found:
            return
        past = self.chance.choice(found)
        known = self.chance.random() < 0.9
        number = self._number_of(thread, past) if known else 10**6
        url = f"/api/v1/chat/{thread.chat_id}/versions"
        answer = await self._insist(lambda: self.client.http.post(url, json={"version": number}))
        if thread.live:
            assert answer.status_code == 409
        elif not known:
            assert answer.status_code == 404
        else:
            assert answer.status_code == 200, answer.text
            thread.swap(past)

    async def bring(self, thread: Thread) -> None:
        """Another door brings the conversation, as it is or rewritten somewhere."""
        turns = [(m.role, m.content) for m in thread.messages if m.content]
        if turns and self.chance.random() < 0.7:
            at = self.chance.randrange(len(turns))
            turns[at] = (turns[at][0], f"{turns[at][1]}, edited")
        del turns[self.chance.randrange(len(turns) + 1) if self.chance.random() < 0.4 else len(turns) :]
        kind = self.chance.choice(["plain", "tool", "cut"])
        text = f"{kind} {self._new('text')}"
        said = [{"role": role, "content": words} for role, words in [*turns, ("user", text)]]
        body, headers = {"model": "general", "messages": said}, {"X-Chat-Id": thread.chat_id}
        answer = await self.client.http.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        if thread.live:
            thread.end("stopped", shown(thread.live), is_open=True)
        run_id = answer.headers["X-Run-Id"]
        thread.become(turns, run_id)
        thread.begin(run_id, text, "general")
        thread.title = self._infos[thread.chat_id]["title"] or thread.title
        self._went(thread, kind, f"{text} is ", None)

    async def fork(self, thread: Thread) -> None:
        replies = [m.run_id for m in thread.messages if m.role == "assistant" and m.run_id]
        if not replies or len(self.threads) > MOST_CHATS:
            return
        run_id, chat_id = self.chance.choice(replies), self._new("fork")
        url, body = f"/api/v1/chat/{thread.chat_id}/fork", {"run_id": run_id, "chat_id": chat_id}
        answer = await self._insist(lambda: self.client.http.post(url, json=body))
        assert answer.status_code == 201, answer.text
        await self.agree(self._adopt(thread.fork(chat_id, run_id)))

    async def edit(self, thread: Thread) -> None:
        wanted: dict[str, Any] = {
            "title": f"title {self.deeds}", "agent": self.chance.choice(["poet", "general"]),
            "instructions": self.chance.choice([None, f"say {self.deeds}"]),
            "temperature": self.chance.choice([None, 0.0, 0.5]),
        }  # fmt: skip
        told = {
            name: wanted[name] for name in self.chance.sample(sorted(wanted), self.chance.randrange(1, 5))
        }
        url = f"/api/v1/chat/{thread.chat_id}"
        answer = await self._insist(lambda: self.client.http.patch(url, json=told))
        assert answer.status_code == 200, answer.text
        for name, value in told.items():
            setattr(thread, name, value)
        thread.chosen = told.get("agent", thread.chosen)

    async def take_back(self, thread: Thread) -> None:
        one = self.chance.choice(thread.queued)
        url = f"/api/v1/chat/{thread.chat_id}/queue/{one.run_id}"
        before = self.retries
        answer = await self._insist(lambda: self.client.http.delete(url))
        assert answer.status_code == 200 or (self.retries > before and answer.status_code == 404)
        thread.queued.remove(one)

    async def put_in(self, thread: Thread) -> None:
        """Out into a file and in again, in its place or beside it."""
        file = (await self._insist(lambda: self.client.http.get("/api/v1/export"))).content
        line = next(one for one in file.splitlines() if json.loads(one)["chat_id"] == thread.chat_id)
        if self.chance.random() < 0.5 or len(self.threads) > MOST_CHATS:
            await self.delete(thread)
        answer = await self._insist(lambda: self.client.http.post("/api/v1/import", content=line))
        done = answer.json()
        assert not done["errors"], done
        made = thread.put_in(done["chats"][0]["chat_id"])
        if made.chat_id not in self.threads:
            self._adopt(made)
        await self.agree(made)

    async def delete(self, thread: Thread) -> None:
        url, before = f"/api/v1/chat/{thread.chat_id}", self.retries
        answer = await self._insist(lambda: self.client.http.delete(url))
        assert answer.status_code == 200 or (self.retries > before and answer.status_code == 404), answer.text
        del self.threads[thread.chat_id]
        info = (await self._insist(lambda: self.client.http.get(url))).json()
        assert (info["status"], info["messages"], info["queued"]) == ("new", [], [])

    # what others do to it

    async def backends(self) -> dict[str, str]:
        """Which backend makes what runs in which chat."""
        found = {}
        for thread in self.threads.values():
            if thread.live:
                info = await self._info(thread.chat_id)
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
                await self._stop(chat_id, body)
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
            info = await self._info(thread.chat_id)
            found, wanted = told(info), self._wanted(thread)
            if found == wanted:
                break
            if time.monotonic() > deadline:
                log = " ".join(self.log[thread.chat_id][-15:])
                raise AssertionError(
                    f"{self.name} {thread.chat_id} after {log}:\n{differences(found, wanted)}"
                )
            await asyncio.sleep(0.02)
        self._infos[thread.chat_id] = info
        if thread.live and not thread.live.frames:
            await self._catch_up(thread.chat_id, thread.live)

    async def listed(self) -> None:
        """The list has the chats, and no other."""
        rows = (await self._insist(lambda: self.client.http.get("/api/v1/chats?limit=200"))).json()["chats"]
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

    async def _catch_up(self, chat_id: str, live: Live) -> None:
        while not live.frames:
            try:
                async with self.client.attach(chat_id) as stream:
                    if stream.status == 200:
                        await stream.until(lambda s: s.text.endswith("half "))
                        live.frames = frames(stream)
            except (httpx.HTTPError, TimeoutError):
                self.retries += 1

    # the wire

    async def _post(self, chat_id: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], Stream | None]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            url = f"/api/v1/chat/{chat_id}?format=json"
            request = self.client.http.build_request("POST", url, json=body)
            try:
                async with self.client._stream(request, "json") as stream:  # its own bodies
                    if stream.status == 200:
                        while not stream.text.endswith("half ") and await stream.next():
                            pass
                        return 200, {}, stream
                    await stream.response.aread()
                    if stream.status not in AGAIN or time.monotonic() > deadline:
                        return stream.status, stream.response.json(), None
            except (httpx.HTTPError, TimeoutError):
                assert time.monotonic() < deadline
            self.retries += 1
            await asyncio.sleep(0.05)

    async def _insist(self, ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = await ask()
                if answer.status_code not in AGAIN or time.monotonic() > deadline:
                    return answer
            except httpx.HTTPError:
                assert time.monotonic() < deadline
            self.retries += 1
            await asyncio.sleep(0.05)

    async def _stop(self, chat_id: str, body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The answer, and whether it had to be asked for again."""
        url, before = f"/api/v1/stop/{chat_id}?wait=5000", self.retries
        answer = await self._insist(lambda: self.client.http.post(url, json=body))
        assert answer.status_code == 202, answer.text
        return answer.json(), self.retries > before

    async def _info(self, chat_id: str) -> dict[str, Any]:
        answer = await self._insist(lambda: self.client.http.get(f"/api/v1/chat/{chat_id}"))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _number_of(self, thread: Thread, past: Past) -> int:
        siblings = [one for one in thread.versions if one.anchor == past.anchor]
        at = next(n for n, one in enumerate(siblings) if one is past)
        place = thread.place(past.anchor)
        assert place is not None
        question = self._infos[thread.chat_id]["messages"][place]
        return int(question["versions"][at]["version"])

    def _adopt(self, thread: Thread) -> Thread:
        self.threads[thread.chat_id] = thread
        self.log.setdefault(thread.chat_id, [])
        return thread

    def _new(self, kind: str) -> str:
        self._number += 1
        return f"{self.name}-{kind}-{self._number:05}"


def shown(live: Live, seen: int | None = None) -> str:
    """What a person has been shown of a reply, up to this event."""
    return "".join(text for number, text in live.frames if seen is None or number <= seen)


def frames(stream: Stream) -> list[tuple[int, str]]:
    return [(frame.number, frame.json["text"]) for frame in stream.frames if frame.event == "text"]


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
