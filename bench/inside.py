"""Runs the product as `python -m app` does and, on SIGUSR1, writes what lives inside it to a file.

Owns the one look inside that the outside cannot have: unfinished tasks and the number of objects. The measured code
is not touched; until the signal comes nothing runs.
"""

import asyncio
import gc
import json
import os
import runpy
import signal
from pathlib import Path


def write_census(*_: object) -> None:
    """Counts tasks and objects into BENCH_CENSUS, whole or not at all."""
    gc.collect()
    objects = gc.get_objects()
    tasks = sum(1 for thing in objects if isinstance(thing, asyncio.Task) and not thing.done())
    target = Path(os.environ["BENCH_CENSUS"])
    target.with_suffix(".new").write_text(json.dumps({"tasks": tasks, "objects": len(objects)}))
    target.with_suffix(".new").rename(target)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, write_census)
    runpy.run_module("app", run_name="__main__", alter_sys=True)
