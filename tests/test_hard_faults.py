"""Whatever fails at the end of a reply, it ends, and what says that it runs is held by somebody who lives."""

import json

import pytest

from tests.world.fakes.reply import FLOWING, Reply
from tests.world.redis_server import command, connect
from tests.world.rough import Rough
from tests.world.waiting import eventually

CALLS = 40_000


async def refuse_writes(rough: Rough, way: str) -> None:
    async with connect(rough.redis.url) as redis:
        if way == "full":
            await redis.config_set("maxmemory", "1mb")
        else:
            await command(redis, "REPLICAOF", "127.0.0.1", "1")


async def take_writes(rough: Rough) -> None:
    async with connect(rough.redis.url) as redis:
        await redis.config_set("maxmemory", "0")
        await command(redis, "REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("way", ["full", "read-only"])
@pytest.mark.parametrize("killed", [False, True])
async def test_a_reply_that_ends_while_nothing_can_be_written_is_settled_later(
    rough: Rough, chat_id: str, way: str, killed: bool
) -> None:
    rough.ollama.default = FLOWING
    async with rough.cluster.client() as client, client.chat(chat_id, "hello") as stream:
        await stream.until_text("word9")
        n = rough.cluster.number(stream.backend)
        try:
            await refuse_writes(rough, way)
            async with rough.cluster.client(n % 3 + 1) as other:
                answer = await other.http.post(f"/api/v1/stop/{chat_id}", params={"wait": 1500})
                if answer.status_code == 202:
                    assert answer.json()["result"] == "stopping", "nothing has ended yet"
                else:
                    assert answer.status_code == 503
                assert (await other.chat_info(chat_id))["status"] == "running"
            if killed:
                await rough.cluster.kill(n)
        finally:
            await take_writes(rough)
        async with rough.cluster.client(n % 3 + 1) as other:

            async def over() -> bool:
                return bool((await other.chat_info(chat_id))["status"] != "running")

            if answer.status_code == 503 and not killed:
                await other.stop(chat_id, wait=5000)
            await eventually(over, within=40)
            question, reply = await other.messages(chat_id)
            assert question["content"] == "hello"
            assert reply["content"].startswith("word0 word1 ")
            assert reply["outcome"] in ({"failed", "stopped"} if killed else {"stopped"})


@pytest.mark.parametrize("depth", [30, 900, 50_000])
async def test_a_tool_call_however_deep_ends_no_backend(rough: Rough, chat_id: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    line = '{"message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"calculate",'
    line += '"arguments":{"expression":' + deep + '}}}]},"done":false}\n'
    last = json.dumps({"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"})
    rough.ollama.default = Reply(raw=[line.encode(), last.encode() + b"\n"])
    async with rough.cluster.client() as client:
        assert (await client.ask(chat_id, "hello")).outcome == "failed"
        rough.ollama.default = Reply(tokens=2)
        assert (await client.ask(chat_id, "again")).outcome == "done"


@pytest.mark.parametrize("what", ["thinking", "text", "tools"])
async def test_a_flood_of_a_model_is_ended_and_everything_works_on_it(
    rough: Rough, chat_id: str, what: str
) -> None:
    call = {"function": {"name": "calculate", "arguments": {"expression": "1+1"}}}
    many = json.dumps({"message": {"role": "assistant", "content": "", "tool_calls": [call] * CALLS}})
    rough.ollama.default = {
        "thinking": Reply(thinking=["x" * 10_000] * 500),
        "text": Reply(tokens=["🙂" * 5_000] * 500),
        "tools": Reply(raw=[many.encode() + b"\n"]),
    }[what]
    async with rough.cluster.client() as client:
        assert (await client.ask(chat_id, "hello")).outcome == "failed"
        assert (await client.replay(chat_id)).outcome == "failed"
        assert (await client.chat_info(chat_id))["status"] == "active"
        rough.ollama.default = Reply(tokens=2)
        assert (await client.ask(chat_id, "again")).outcome == "done"
        assert (await client.http.delete(f"/api/v1/chat/{chat_id}")).status_code == 200
