"""Reads `REDIS_URL`: one Redis, one behind Sentinel, or a Redis Cluster. Knows how the URL is
written, not Redis.

redis://user:password@host:6379/0                    rediss:// everywhere for TLS
redis+sentinel://user:password@host1,host2:26379/service/0
redis+cluster://user:password@host1:6379,host2:6379
"""

import os
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlencode

Kind = Literal["one", "sentinel", "cluster"]
Address = tuple[str, int]

_URL = re.compile(
    r"(?P<scheme>rediss?)(\+(?P<kind>sentinel|cluster))?://"
    r"((?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?P<path>/[^?#]*)?(\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?")
_PATH = {
    "one": re.compile(r"(/(?P<db>[0-9]*))?"),
    "sentinel": re.compile(r"/(?P<service>[^/]+)(/(?P<db>[0-9]*))?"),
    "cluster": re.compile(r"(/0?)?(?P<db>)"),
}
_PATH_FORM = {"one": "/0 (the database)", "sentinel": "/service or /service/0", "cluster": "nothing, or /0"}
_TLS_FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
_TLS = _TLS_FILES | {"ssl_ca_data", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ciphers", "ssl_password"}
_SENTINEL = {"sentinel_username", "sentinel_password"}
_LOOKS = (
    "must look like redis://host:6379/0, rediss://user:password@host:6379/0, "
    "redis+sentinel://host1,host2/service/0 "
    "or redis+cluster://host1,host2, with special characters in a password percent-encoded"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where Redis is.

    `url` is for one host, as redis-py reads it; `hosts` are Sentinels or nodes of a Cluster.
    """

    kind: Kind
    url: str = field(repr=False)
    hosts: tuple[Address, ...] = ()
    service: str = ""
    sentinel_login: dict[str, str] = field(default_factory=dict, repr=False)
    database: int = 0


def read(url: str) -> Place:
    """What the URL says. Raises `ValueError` with one line that never shows the URL."""
    if url.startswith("unix://"):
        database = dict(parse_qsl(url.partition("?")[2])).get("db", "0")
        return Place("one", url, database=int(database) if database.isdigit() else 0)
    found = _URL.fullmatch(url)
    if not found:
        raise ValueError(f"REDIS_URL {_LOOKS}")
    kind: Kind = found["kind"] or "one"  # type: ignore[assignment]  # the pattern has no other
    path = _PATH[kind].fullmatch(found["path"] or "")
    if not path:
        raise ValueError(f"REDIS_URL: behind the hosts comes {_PATH_FORM[kind]}")
    hosts = tuple(_host(one, 26379 if kind == "sentinel" else 6379) for one in found["hosts"].split(","))
    if kind == "one" and len(hosts) > 1:
        raise ValueError("REDIS_URL: several hosts need redis+sentinel:// or redis+cluster://")
    options = _options(found["query"] or "", kind, found["scheme"] == "rediss")
    login = {name.removeprefix("sentinel_"): options.pop(name) for name in _SENTINEL & options.keys()}
    at = f"{found['login']}@" if found["login"] else ""
    name, port = hosts[0]
    one = f"{found['scheme']}://{at}{name}:{port}/{path['db'] or 0}?{urlencode(options)}"
    plain = tuple((name.strip("[]"), port) for name, port in hosts)
    return Place(kind, one, plain, path.groupdict().get("service") or "", login, int(path["db"] or 0))


def _host(text: str, port: int) -> Address:
    found = _HOST.fullmatch(text)
    if not found or not 0 < int(found["port"] or port) < 65536:
        raise ValueError("REDIS_URL: each host must look like name or name:port, several separated by commas")
    return found["name"], int(found["port"] or port)


def _options(query: str, kind: Kind, tls: bool) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = (_TLS if tls else set()) | (_SENTINEL if kind == "sentinel" else set())
    for name in options.keys() - known:
        if name in _TLS:
            raise ValueError("REDIS_URL: ssl_… options need rediss://")
        allowed = ", ".join(sorted(known)) or "none"
        raise ValueError(f"REDIS_URL has an option that means nothing here; known are: {allowed}")
    for name in options.keys() & _TLS_FILES:
        if not os.access(options[name], os.R_OK):
            raise ValueError(f"REDIS_URL: the file of {name} cannot be read")
    if options.get("ssl_cert_reqs", "required") not in {"none", "optional", "required"}:
        raise ValueError("REDIS_URL: ssl_cert_reqs must be required, optional or none")
    return options
