"""Logging: loguru to standard error, one line per record, the standard library's loggers included.

Lines hold ids, lengths and times, never what people or models said, and no secret.
"""

import inspect
import json
import logging
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

request_id: ContextVar[str] = ContextVar("request_id", default="-")

MOST_CHARS = 1000  # of a line from a library

_QUIET = (
    "strands",
    "botocore",
    "aiobotocore",
    "httpx",
    "httpcore",
    "asyncio",
    "urllib3",
    "uvicorn.access",
    "uvicorn.error",
)


def set_up(level: str, form: str, backend: str) -> None:
    """Sends every record to standard error, as text or as one JSON object per line."""
    logger.remove()
    logger.configure(extra={"backend": backend}, patcher=_with_request)
    if form == "json":
        logger.add(_write_json, level=level, backtrace=False, diagnose=False)
    else:
        line = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {extra[backend]} {extra[request_id]} | {message}"
        logger.add(sys.stderr, format=line, level=level, backtrace=False, diagnose=False, colorize=False)
    logging.basicConfig(handlers=[_Intercept()], level=0, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _with_request(record: "Record") -> None:
    record["extra"].setdefault("request_id", request_id.get())


def _write_json(message: "Message") -> None:
    record = message.record
    line = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "message": record["message"],
        **record["extra"],
    }
    if record["exception"]:
        line["exception"] = str(message).split("\n", 1)[-1]
    sys.stderr.write(json.dumps(line, default=str) + "\n")


class _Intercept(logging.Handler):
    """Hands the standard library's records to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        frame, depth = inspect.currentframe(), 0
        while frame and (depth == 0 or frame.f_code.co_filename == logging.__file__):
            frame, depth = frame.f_back, depth + 1
        said = " ".join(record.getMessage().split())[
            :MOST_CHARS
        ]  # may hold a model's words: one line, bounded
        logger.opt(depth=depth, exception=record.exc_info).log(level, "{}", said)
