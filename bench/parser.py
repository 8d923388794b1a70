"""What reading one event of Bedrock's stream costs by itself: botocore's buffer and parser, in microseconds
of CPU.

Owns nothing of the product; it says how much of a Bedrock token is the library's reader.
"""

import asyncio
import time
from collections.abc import Callable

from aiobotocore.parsers import AioEventStreamJSONParser
from botocore.eventstream import EventStreamBuffer
from botocore.session import get_session

from bench.client import unchunked
from bench.wire import BEDROCK, BLOCK

BLOCKS = 200


def _cost(read: Callable[[], object]) -> float:
    began = time.process_time()
    read()
    return (time.process_time() - began) / (BLOCKS * BLOCK) * 1e6


def main() -> None:
    """Prints both figures."""
    piece = unchunked(BEDROCK.block)
    model = get_session().get_service_model("bedrock-runtime").operation_model("ConverseStream")
    shape = model.output_shape.members["stream"]
    parser = AioEventStreamJSONParser()

    def framed() -> list[object]:
        buffer = EventStreamBuffer()
        events: list[object] = []
        for _ in range(BLOCKS):
            buffer.add_data(piece)
            events.extend(buffer)
        return events

    async def parsed() -> None:
        buffer = EventStreamBuffer()
        for _ in range(BLOCKS):
            buffer.add_data(piece)
            for event in buffer:
                await parser.parse(event.to_response_dict(), shape)

    print(f"frames alone       {_cost(framed):6.1f} us per event")
    print(f"frames and parser  {_cost(lambda: asyncio.run(parsed())):6.1f} us per event")


if __name__ == "__main__":
    main()
