"""Where things are: everything private lies under run/ and data/ of this checkout."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "run"
DATA = ROOT / "data"
LOGS = RUN / "logs"
STACK = RUN / "stack.json"
CONFIG = RUN / "supervisord.conf"
PID = RUN / "supervisord.pid"
PYTHON = ROOT / ".venv" / "bin" / "python"


def socket_path() -> Path:
    """The supervisor's socket. The system allows 107 characters, so a deep checkout gets one in /tmp."""
    path = RUN / "supervisor.sock"
    if len(str(path)) < 100:  # supervisor adds a few while it binds
        return path
    return Path("/tmp") / f"chat-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]}.sock"
