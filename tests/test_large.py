"""Large chats are read one after the other, so that nobody else waits for all of them."""

import asyncio

from app.store.large import LARGE, PAUSE_SECONDS, Large

CHAT = [b"x" * LARGE, b"x"]


async def test_while_others_want_to_be_read_large_chats_go_out_one_by_one() -> None:
    large, places = Large(), asyncio.Semaphore(1)
    async with places:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(large.passed(CHAT, places) for _ in range(3)))
        assert asyncio.get_running_loop().time() - began >= 2.9 * PAUSE_SECONDS


async def test_who_reads_alone_or_a_small_chat_does_not_wait() -> None:
    large, places = Large(), asyncio.Semaphore(1)
    assert _is_done_at_once(large.passed(CHAT, places))
    async with places:
        assert _is_done_at_once(large.passed([b"x"], places))
        waits = large.passed(CHAT, places)
        assert not _is_done_at_once(waits)
        waits.close()


def _is_done_at_once(coroutine: object) -> bool:
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return True
    return False
