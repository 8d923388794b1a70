"""Where things are: everything private lies under run/ and data/ of this checkout.

The parts run with the checkout as their folder and get these paths relative to it, so that no configuration
file has to quote what a folder may be called.
"""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = Path("run")
DATA = Path("data")
LOGS = RUN / "logs"
STACK = RUN / "stack.json"
PARTS = RUN / "parts.json"
GIVEN = RUN / "given.json"
LOCK = RUN / "lock"
CONFIG = RUN / "supervisord.conf"
PID = RUN / "supervisord.pid"
NGINX_PID = RUN / "nginx" / "nginx.pid"
PYTHON = ROOT / ".venv" / "bin" / "python"


def socket_path() -> Path:
    """The supervisor's socket. The system allows 107 characters, so a deep checkout gets one in /tmp."""
    path = ROOT / RUN / "supervisor.sock"
    if len(str(path).encode()) < 100:  # supervisor adds a few while it binds
        return path
    return Path("/tmp") / f"chat-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]}.sock"
