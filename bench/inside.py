"""Runs the product as `python -m app` does and, on SIGUSR1, writes what lives inside it to a file.

Owns the one look inside that the outside cannot have: unfinished tasks and the number of objects. The
measured code is not touched; until the signal comes nothing runs.
"""

import asyncio
import gc
import json
import os
import runpy
import signal
from pathlib import Path


def write_census(*_: object) -> None:
    """Counts unfinished tasks and tracked objects into BENCH_CENSUS; a signal finds the loop running."""
    gc.collect()
    census = {"tasks": len(asyncio.all_tasks()), "objects": len(gc.get_objects())}
    target = Path(os.environ["BENCH_CENSUS"])
    target.with_suffix(".new").write_text(json.dumps(census))
    target.with_suffix(".new").rename(target)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, write_census)
    runpy.run_module("app", run_name="__main__", alter_sys=True)
