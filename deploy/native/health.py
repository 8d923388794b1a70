"""Asking a part how it is: a backend, the stack through its public port, Redis. Whose it is, others know."""

import http.client
import json
import socket
from typing import Any

ASK_SECONDS = 3.0


def health(port: int, host: str = "", address: str = "") -> dict[str, Any]:
    """The body of /health, also when it is 503; empty when nobody answers. No proxy is asked.

    `host` is one of ALLOWED_HOSTS, where these are set.
    """
    connection = http.client.HTTPConnection(address or "127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/health", headers={"Host": host} if host else {})
        return dict(json.load(connection.getresponse()))
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def redis_says(port: int, password: str, *words: str) -> str:
    """What Redis answers to a command, without its length; empty when nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), ASK_SECONDS) as connection:
            lines = connection.makefile("rb")
            if password:
                connection.sendall(_command("AUTH", password))
                lines.readline()
            connection.sendall(_command(*words))
            line = lines.readline()
            body = lines.read(int(line[1:])) if line.startswith(b"$") else line
            return body.decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""


def redis_info(port: int, password: str) -> dict[str, str]:
    """What Redis tells about its files; empty when nobody answers."""
    lines = (line.partition(":") for line in redis_says(port, password, "INFO", "persistence").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _command(*words: str) -> bytes:
    parts = [word.encode() for word in words]
    return b"".join([b"*%d\r\n" % len(parts), *(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)])
