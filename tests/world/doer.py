"""Everything that can be done to a chat, at random, and what must come of it."""

import json
import random
import time
from typing import Any

from tests.world.client import Stream
from tests.world.insistent import Insistent, frames
from tests.world.redis_server import connect
from tests.world.rough import Rough
from tests.world.scripted import GO_ON, KINDS, expected, kind_of
from tests.world.thread import Live, Past, Thread, Waits

MOST_CHATS = 4


class Doer:
    """One person, with a key of its own, and what must stand in each of its chats."""

    def __init__(self, name: str, rough: Rough, keep: int, seed: str) -> None:
        self.name = name
        self.rough = rough
        self.keep = keep
        self.chance = random.Random(seed)
        self.threads: dict[str, Thread] = {}
        self.log: dict[str, list[str]] = {}
        self.infos: dict[str, dict[str, Any]] = {}  # as the service told them last
        self.wire = Insistent(rough.cluster.client(key=f"key-of-{name}"))
        self._number = 0

    async def agree(self, thread: Thread) -> None:
        """The service comes to show what must stand there."""
        raise NotImplementedError

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
        run_id, kind = self.new("run"), self.chance.choice(KINDS)
        text, before = f"{kind} {run_id}", ""
        agent = "general" if "tool" in kind else self.chance.choice(["", "", "", "poet"])
        body = {"run_id": run_id, "on_busy": on_busy, **({"agent": agent} if agent else {})}
        body |= {"replaces": replaces} if replaces else {}
        if continues:
            before = thread.messages[-1].content
            asked = thread.messages[-2].content if len(thread.messages) > 1 else text  # else it is refused
            kind, first = kind_of(GO_ON if before.strip() else asked, before)
            body["continues"] = continues
        else:
            first, body["message"] = f"{text} is ", text
        status, answer, stream = await self.wire.post(thread.chat_id, body)
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
        answer, again = await self.wire.ask_to_stop(thread.chat_id, body)
        if not by_id and not again:
            back = [one["run_id"] for one in answer["unsent"]]
            assert not live or back == [w.run_id for w in thread.queued], f"{answer} and not {thread.queued}"
        if not live:
            assert answer["result"] in ("already_finished", "pending")
            return None
        assert again or answer["result"] in ("stopped", "stopping", "owner_lost"), answer
        thread.stop(all_of_it=not by_id)
        thread.end("stopped", shown(live, seen), is_open=True)
        return self._advance(thread)

    async def _stop_waiting(self, thread: Thread) -> None:
        one = self.chance.choice(thread.queued)
        answer, again = await self.wire.ask_to_stop(thread.chat_id, {"run_id": one.run_id})
        assert again or [w["run_id"] for w in answer["unsent"]] == [one.run_id]
        thread.queued.remove(one)
        thread.unsent = [one]

    async def stop_early(self, thread: Thread) -> None:
        run_id = self.new("run")
        answer, _ = await self.wire.ask_to_stop(thread.chat_id, {"run_id": run_id})
        assert answer["result"] == "pending"
        body = {"run_id": run_id, "message": f"plain {run_id}", "agent": "general"}
        status, told, stream = await self.wire.post(thread.chat_id, body)
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
        answer = await self.wire.ask("POST", url, json={"version": number})
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
        text = f"{kind} {self.new('text')}"
        said = [{"role": role, "content": words} for role, words in [*turns, ("user", text)]]
        body, headers = {"model": "general", "messages": said}, {"X-Chat-Id": thread.chat_id}
        answer = await self.wire.client.http.post("/v1/chat/completions", json=body, headers=headers)
        if answer.status_code == 503:  # a busy machine: nobody knows whether what was going has been stopped
            await self.delete(thread)
            return
        assert answer.status_code == 200, answer.text
        if thread.live:
            thread.end("stopped", shown(thread.live), is_open=True)
        run_id = answer.headers["X-Run-Id"]
        thread.become(turns, run_id)
        thread.begin(run_id, text, "general")
        thread.title = self.infos[thread.chat_id]["title"] or thread.title
        self._went(thread, kind, f"{text} is ", None)

    async def fork(self, thread: Thread) -> None:
        replies = [m.run_id for m in thread.messages if m.role == "assistant" and m.run_id]
        if not replies or len(self.threads) > MOST_CHATS:
            return
        run_id, chat_id = self.chance.choice(replies), self.new("fork")
        url, body = f"/api/v1/chat/{thread.chat_id}/fork", {"run_id": run_id, "chat_id": chat_id}
        answer = await self.wire.ask("POST", url, json=body)
        assert answer.status_code == 201, answer.text
        await self.agree(self.adopt(thread.fork(chat_id, run_id)))

    async def edit(self, thread: Thread) -> None:
        wanted: dict[str, Any] = {
            "title": f"title {self._number}", "agent": self.chance.choice(["poet", "general"]),
            "instructions": self.chance.choice([None, f"say {self._number}"]),
            "temperature": self.chance.choice([None, 0.0, 0.5]),
        }  # fmt: skip
        told = {
            name: wanted[name] for name in self.chance.sample(sorted(wanted), self.chance.randrange(1, 5))
        }
        url = f"/api/v1/chat/{thread.chat_id}"
        answer = await self.wire.ask("PATCH", url, json=told)
        assert answer.status_code == 200, answer.text
        for name, value in told.items():
            setattr(thread, name, value)
        thread.chosen = told.get("agent", thread.chosen)

    async def take_back(self, thread: Thread) -> None:
        one = self.chance.choice(thread.queued)
        url = f"/api/v1/chat/{thread.chat_id}/queue/{one.run_id}"
        before = self.wire.retries
        answer = await self.wire.ask("DELETE", url)
        assert answer.status_code == 200 or (self.wire.retries > before and answer.status_code == 404)
        thread.queued.remove(one)

    async def put_in(self, thread: Thread) -> None:
        """Out into a file and in again, in its place or beside it."""
        file = (await self.wire.ask("GET", "/api/v1/export")).content
        line = next(one for one in file.splitlines() if json.loads(one)["chat_id"] == thread.chat_id)
        if self.chance.random() < 0.5 or len(self.threads) > MOST_CHATS:
            await self.delete(thread)
        answer = await self.wire.ask("POST", "/api/v1/import", content=line)
        done = answer.json()
        assert not done["errors"], done
        made = thread.put_in(done["chats"][0]["chat_id"])
        if made.chat_id not in self.threads:
            self.adopt(made)
        await self.agree(made)

    async def delete(self, thread: Thread) -> None:
        url, before = f"/api/v1/chat/{thread.chat_id}", self.wire.retries
        answer = await self.wire.ask("DELETE", url)
        assert answer.status_code == 200 or (self.wire.retries > before and answer.status_code == 404), (
            answer.text
        )
        del self.threads[thread.chat_id]
        info = (await self.wire.ask("GET", url)).json()
        assert (info["status"], info["messages"], info["queued"]) == ("new", [], [])

    def _number_of(self, thread: Thread, past: Past) -> int:
        siblings = [one for one in thread.versions if one.anchor == past.anchor]
        at = next(n for n, one in enumerate(siblings) if one is past)
        place = thread.place(past.anchor)
        assert place is not None
        question = self.infos[thread.chat_id]["messages"][place]
        return int(question["versions"][at]["version"])

    def adopt(self, thread: Thread) -> Thread:
        self.threads[thread.chat_id] = thread
        self.log.setdefault(thread.chat_id, [])
        return thread

    def new(self, kind: str) -> str:
        self._number += 1
        return f"{self.name}-{kind}-{self._number:05}"


def shown(live: Live, seen: int | None = None) -> str:
    """What a person has been shown of a reply, up to this event."""
    return "".join(text for number, text in live.frames if seen is None or number <= seen)
