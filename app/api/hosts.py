"""Which names this server answers to, and which pages may send to it. Knows headers, no bodies and
no routes.

At home nothing is set, and a page somewhere may point its own name to an address of the home
network (DNS rebinding). A name that only the home network can give is safe from that.
"""

import re
import socket
from ipaddress import ip_address

SAFE = ("GET", "HEAD", "OPTIONS")  # methods that change nothing
AT_HOME = (".localhost", ".local", ".lan", ".home.arpa", ".internal")

_PLAIN = re.compile(r"[a-z0-9_-]*")
_DOTTED = re.compile(r"[a-z0-9._-]+")


class Hosts:
    """The names of this server; without any it is open to every name when its doors have keys."""

    def __init__(self, named: list[str], keyed: bool) -> None:
        self._named = set(named)
        self._any = keyed
        self._own = socket.gethostname().lower()

    def answer_to(self, header: bytes) -> bool:
        """Whether a request with this `Host` is meant for us."""
        host = host_of(header)
        if self._named:
            return host in self._named
        return self._any or host == self._own or cannot_be_rebound(host)


class Origins:
    """The pages that may change something here: our own, and those of CORS_ORIGINS."""

    def __init__(self, named: list[str]) -> None:
        self._named = set(named)

    def refuse(self, method: str, headers: dict[bytes, bytes]) -> bool:
        """Whether a browser says that a foreign page sends this. What is no browser says nothing."""
        if method in SAFE:
            return False
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if origin in self._named or (origin and "*" in self._named):
            return False
        site = headers.get(b"sec-fetch-site")
        if site is not None:  # only a browser can set it, and it knows better than a Host a proxy has changed
            return site not in (b"same-origin", b"none") or (site == b"none" and self._other(origin, headers))
        return self._other(origin, headers)

    def _other(self, origin: str, headers: dict[bytes, bytes]) -> bool:
        if not origin:
            return False
        scheme, _, place = origin.partition("://")
        host = headers.get(b"host", b"").decode("latin-1").strip().lower()
        return place != host.removesuffix({"http": ":80", "https": ":443"}.get(scheme, " "))


def host_of(header: bytes) -> str:
    """The name in a `Host` header, lower case, without the port."""
    host = header.decode("latin-1").strip().lower()
    return host.rsplit(":", 1)[0] if re.search(r":\d*$", host) and not host.endswith("]") else host


def cannot_be_rebound(host: str) -> bool:
    """Whether no stranger can give this name an address: an address itself, or a name of the home network."""
    if _PLAIN.fullmatch(host):
        return True
    if _DOTTED.fullmatch(host) and host.endswith(AT_HOME):
        return True
    try:
        ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        return False
    return True
