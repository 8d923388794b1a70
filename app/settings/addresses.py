"""Addresses as people and other programs write them, made into what is meant.

Everything here raises `ValueError` with one line.
"""

import ipaddress
import re
from typing import Any

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*]+", re.IGNORECASE)
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")
_HOST_NAME = re.compile(r"[^\s:/]+|\[[0-9A-Fa-f:.]+\]")
_TAKEN = {"api", "v1", "static", "docs", "openapi.json", "health", "metrics", "agents"}
_TAKEN |= {"problem", "openai-problem"}  # Nginx has these to itself
_LISTENS_ON = re.compile(r"(?<=://)(0\.0\.0\.0|\[::\])(?=[:/]|$)")


def others_forms(values: dict[str, Any]) -> dict[str, Any]:
    """Kubernetes sets `REDIS_PORT=tcp://…` beside a Service `redis`; Docker knows `address:port`."""
    kept = {name: value for name, value in values.items() if not _SERVICE_LINK.match(str(value))}
    bind, _, port = str(kept.get("http_port", "")).rpartition(":")
    if bind:
        kept |= {"http_port": port, "http_bind": kept.get("http_bind") or bind}
    return kept


def one_address(text: str) -> str:
    """An address of this machine, without the brackets of a URL; empty stays empty."""
    try:
        return str(ipaddress.ip_address(text.strip("[]"))) if text else text
    except ValueError:
        raise ValueError("must be one address of this machine, such as 127.0.0.1") from None


def networks(text: str) -> str:
    """Addresses and networks, however separated, by commas."""
    try:
        parts = [part for part in re.split(r"[\s,]+", text) if part]
        return ",".join(str(ipaddress.ip_network(part, strict=False)) for part in parts)
    except ValueError:
        raise ValueError("must be addresses such as 127.0.0.1 or networks such as 10.0.0.0/8") from None


def host_names(text: str) -> str:
    """Names by commas, as a browser sends them in `Host`, less the port."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if bool(names) != bool(text.strip()) or not all(map(_HOST_NAME.fullmatch, names)):
        raise ValueError("names only, without https:// and without a port, as in chat.example,localhost")
    return text


def base_path(text: str) -> str:
    """A path such as /chat, without a slash at its end; empty for none."""
    path = f"/{text.strip().strip('/')}".rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*", path):
        raise ValueError("must be a path such as /chat, of letters, digits and . _ ~ -")
    if (first := path.split("/")[1:2]) and first[0] in _TAKEN:
        raise ValueError(f"/{first[0]} has addresses of its own here: choose another one, such as /chat")
    return path


def ollama(text: str) -> str:
    """The URL of `OLLAMA_HOST` as Ollama reads it: without a scheme its own port is meant."""
    url = text if "://" in text else _with_port(text)
    url = _LISTENS_ON.sub(lambda found: "[::1]" if found[0] == "[::]" else "127.0.0.1", url)
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
        raise ValueError("must look like http://127.0.0.1:11434")
    return url.rstrip("/")


def openai(text: str) -> str:
    """The base URL of an OpenAI-compatible server, without a key and without a slash at the end."""
    if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", text):
        raise ValueError("must look like http://127.0.0.1:8080/v1 (a key belongs into OPENAI_API_KEY)")
    return text.rstrip("/")


def origins(text: str) -> str:
    """Origins of other sites by commas, or `*`."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in parts):
        raise ValueError("must be origins, as in https://app.example: no path, no slash at the end")
    return text


def region(text: str) -> str:
    """The name of an AWS region."""
    if not re.fullmatch(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}", text):
        raise ValueError("must look like us-west-2")
    return text


def _with_port(text: str) -> str:
    name, slash, path = text.partition("/")
    bare = re.fullmatch(r"\[[^\]]*\]|[^:]*", name)
    here = "127.0.0.1" if not name or name.startswith(":") else ""
    return f"http://{here}{name}{':11434' if bare else ''}{slash}{path}"
