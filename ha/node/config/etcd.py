"""The table ``[etcd]`` of options.toml: an etcd cluster that says whose a service is (docs/etcd.md).

Keys are called as the options of ``etcdctl``. What is asked of the cluster is ``ha.node.arbiter``'s matter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ha.node.config.values import Check, kind_of

PORT: Final = 2379
MAX_ENDPOINTS: Final = 16


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a member of the cluster answers clients."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """How the cluster is reached. Files by absolute paths; empty: none."""

    endpoints: tuple[Endpoint, ...]
    prefix: str = "/ezha"
    """Of all keys; ``/CLUSTER/SERVICE`` follows."""
    cacert: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password_file: str = ""


def _endpoints(value: object) -> tuple[Endpoint, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError('is no list of addresses; give each as "https://HOST:2379"')
    if len(words) > MAX_ENDPOINTS:
        raise ValueError(f"names {len(words)} addresses; give at most {MAX_ENDPOINTS}")
    endpoints = tuple(_endpoint(word) for word in words)
    if len(set(endpoints)) != len(endpoints):
        raise ValueError("names an address twice; give each once")
    return endpoints


def _endpoint(word: str) -> Endpoint:
    from urllib.parse import urlsplit  # costs start-up time, and most nodes have no etcd

    advice = 'give "https://HOST:2379", or http:// where nothing is to be encrypted'
    try:
        parts = urlsplit(word)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"holds {word[:80]!r}, which is no address; {advice}") from None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.path not in ("", "/")
        or parts.query
        or parts.username
    ):
        raise ValueError(f"holds {word[:80]!r}, which is no address of etcd; {advice}")
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,253}", host) or port == 0:
        raise ValueError(f"holds {word[:80]!r}, which names no host; {advice}")
    return Endpoint(host, PORT if port is None else port, parts.scheme == "https")


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(/[A-Za-z0-9_.-]{1,64}){1,8}", value):
        raise ValueError('is no prefix of keys; give one as "/ezha", of letters, digits and . _ - between slashes')
    return value


def _file(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or len(value) > 1000:
        raise ValueError(f"is {value!r:.80}; give the absolute path of a file")
    return value


def _user(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():
        raise ValueError(f"is {kind_of(value)} that cannot be a user's name; give the name in quotes")
    if ":" in value:
        raise ValueError("holds a colon; the password goes into a file: give its path as password_file")
    return value


ETCD: Final[Mapping[str, Check]] = {
    "endpoints": _endpoints,
    "prefix": _prefix,
    "cacert": _file,
    "cert": _file,
    "key": _file,
    "user": _user,
    "password_file": _file,
}


def make_etcd(values: Mapping[str, Any]) -> EtcdOptions:
    """From checked values. Raises ValueError, with a whole sentence, where they do not go together."""
    if "endpoints" not in values:
        raise ValueError('[etcd] names no endpoints; give endpoints = ["https://HOST:2379", …]')
    for one, other in (("cert", "key"), ("user", "password_file")):
        if (one in values) != (other in values):
            given, missing = (one, other) if one in values else (other, one)
            raise ValueError(f"[etcd] has {given} without {missing}; give both or none")
    options = EtcdOptions(**values)
    if not all(endpoint.tls for endpoint in options.endpoints):
        if options.user:
            raise ValueError("[etcd] has a user, and an endpoint with http://; a password goes out over https:// only")
        if options.cacert or options.cert:
            raise ValueError("[etcd] has certificates, and an endpoint with http://; give https:// for all of them")
    return options
