"""The chats of our own Redis as one file, taken while it runs; and such a file as what it starts with."""

import shutil
import subprocess
import time
from pathlib import Path

from deploy.native import supervisor
from deploy.native.choose import redis_program
from deploy.native.health import redis_info, redis_says
from deploy.native.lifecycle import read_stack
from deploy.native.parts import environment_of
from deploy.native.places import DATA, ROOT
from deploy.native.say import fail

SNAPSHOT_SECONDS = 600


def snapshot(target: str) -> None:
    """Writes the file; Redis goes on meanwhile."""
    server = read_stack().redis
    if server is None:
        fail("Redis is yours (REDIS_URL or REDIS_HOST): back it up where it runs")
    password = environment_of("redis").get("REDIS_PASSWORD", "")
    deadline = time.monotonic() + SNAPSHOT_SECONDS
    made = ROOT / DATA / server.folder / "dump.rdb"
    made.unlink(missing_ok=True)
    while not (said := redis_says(server.port, password, "BGSAVE")).startswith("+"):
        if time.monotonic() > deadline or not said.startswith("-ERR"):
            fail(f"Redis gives no snapshot: {said or 'it does not answer'}")
        time.sleep(0.2)  # it is rewriting its file
    while redis_info(server.port, password).get("rdb_bgsave_in_progress") == "1":
        if time.monotonic() > deadline:
            fail("Redis has not finished its snapshot in ten minutes (make logs-redis)")
        time.sleep(0.05)
    if not made.exists():
        fail("Redis gives no snapshot (make logs-redis): is the disk full?")
    shutil.move(made, target)


def load_snapshot(source: str) -> None:
    """Makes it what Redis finds at the next start; what was there is set aside."""
    if supervisor.running():
        fail("The stack runs: make stop")
    program, folder = redis_program()
    command = ["sh", "deploy/redis-load.sh", str(DATA / folder), program]
    with Path(source).open("rb") as file:
        done = subprocess.run(command, cwd=ROOT, stdin=file, check=False)
    if done.returncode != 0:
        raise SystemExit(1)
