"""What is asked of etcd, and what it answers, as values: its API v3 in JSON (etcd's "gRPC gateway").

64-bit numbers are strings there, bytes are base64, and what is zero is left out. Everything that an answer must have is
looked at before it is believed. Opens no connection.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_ANSWER: Final = 4 << 20
"""Bytes. A thousand services are less than 300,000."""
MAX_KEYS: Final = 4096

NOT_FOUND: Final = 5
UNAUTHENTICATED: Final = 16
REFUSALS: Final = frozenset((3, 7, 9))
"""gRPC codes that no other member would answer otherwise: invalid argument, permission denied, failed precondition."""


class BadAnswerError(Exception):
    """It is not what etcd says: another program, or a broken one. ``str()`` follows the name of the endpoint."""


class RefusedError(Exception):
    """etcd understood, and says no."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Header:
    """Which state of which cluster an answer is from."""

    cluster: int
    revision: int
    term: int
    """Of the election that made the present leader."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the store."""

    name: str
    value: bytes
    lease: int
    created: int
    """The revision that created it: another one is another key, though it has the same name."""
    modified: int


@dataclass(frozen=True, slots=True)
class Put:
    """The outcome of a transaction that puts one key."""

    header: Header
    done: bool
    there: Key | None
    """Where it was not done: the key that is in the way, if it is still there."""


def failure(status: int, data: bytes) -> RefusedError:
    """What an answer with another status than 200 says. Raises BadAnswerError."""
    body = _json(data)
    code, text = body.get("code"), body.get("message", body.get("error"))
    if not isinstance(code, int) or not isinstance(text, str):
        raise BadAnswerError(f"answers with HTTP status {status} and no reason that etcd gives")
    return RefusedError(code, text[:200])


def _json(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_ANSWER:
        raise BadAnswerError(f"answers more than {MAX_ANSWER} bytes")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadAnswerError("does not answer as etcd does")
    return body


def _number(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name, 0)
    if isinstance(value, str) and value.lstrip("-").isdigit() and value.isascii() and len(value) <= 20:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadAnswerError(f"answers with {name} {value!r:.40}, which is no number")


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name, {})
    if not isinstance(value, dict):
        raise BadAnswerError(f"answers with {name} that is no object")
    return value


def _parts(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = body.get(name, [])
    if not isinstance(value, list) or len(value) > MAX_KEYS or not all(isinstance(item, dict) for item in value):
        raise BadAnswerError(f"answers with {name} that are no list of objects")
    return value


def _bytes(body: Mapping[str, Any], name: str) -> bytes:
    value = body.get(name, "")
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, binascii.Error):
        raise BadAnswerError(f"answers with {name} that is not base64") from None


def _header(body: Mapping[str, Any]) -> Header:
    head = _part(body, "header")
    header = Header(_number(head, "cluster_id"), _number(head, "revision"), _number(head, "raft_term"))
    if header.cluster == 0 or header.term <= 0 or header.revision < 0:
        raise BadAnswerError("answers without saying which cluster it is of")
    return header


def _key(body: Mapping[str, Any]) -> Key:
    return Key(
        _bytes(body, "key").decode(errors="replace"),
        _bytes(body, "value"),
        _number(body, "lease"),
        _number(body, "create_revision"),
        _number(body, "mod_revision"),
    )


def _text(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


# ------------------------------------------------------------------------------- questions and their answers


def range_question(prefix: str) -> dict[str, Any]:
    """All keys that begin with ``prefix``, which ends with a slash; linearizable: a quorum is asked."""
    return {"key": _text(prefix), "range_end": _text(prefix[:-1] + chr(ord(prefix[-1]) + 1)), "limit": MAX_KEYS}


def range_answer(data: bytes) -> tuple[Header, dict[str, Key]]:
    body = _json(data)
    keys = [_key(item) for item in _parts(body, "kvs")]
    return _header(body), {key.name: key for key in keys}


def grant_question(ttl: int) -> dict[str, Any]:
    return {"TTL": ttl}


def grant_answer(data: bytes) -> tuple[Header, int, int]:
    """Header, lease, seconds."""
    body = _json(data)
    lease = _number(body, "ID")
    if lease <= 0:
        raise BadAnswerError("grants a lease without a number")
    return _header(body), lease, _number(body, "TTL")


def keepalive_question(lease: int) -> dict[str, Any]:
    return {"ID": str(lease)}


def keepalive_answer(data: bytes) -> tuple[Header, int]:
    """Header, seconds: 0 where there is no such lease any more."""
    # A stream, of which there is one object.
    body = _json(data)
    if "error" in body:
        told = _part(body, "error")
        raise RefusedError(_number(told, "grpc_code") or _number(told, "code"), str(told.get("message", ""))[:200])
    result = _part(body, "result")
    return _header(result), _number(result, "TTL")


def revoke_question(lease: int) -> dict[str, Any]:
    return {"ID": str(lease)}


def put_question(key: str, value: bytes, lease: int, modified: int) -> dict[str, Any]:
    """Put ``key`` where its last change is of revision ``modified``; 0: where there is none."""
    target = (
        {"target": "MOD", "mod_revision": str(modified)} if modified else {"target": "CREATE", "create_revision": "0"}
    )
    name = _text(key)
    return {
        "compare": [{"result": "EQUAL", "key": name, **target}],
        "success": [{"requestPut": {"key": name, "value": _text(value), "lease": str(lease)}}],
        "failure": [{"requestRange": {"key": name}}],
    }


def put_answer(data: bytes) -> Put:
    body = _json(data)
    header = _header(body)
    done = body.get("succeeded", False)
    if not isinstance(done, bool):
        raise BadAnswerError("does not say whether a transaction succeeded")
    if done:
        return Put(header, True, None)
    found = [key for part in _parts(body, "responses") for key in _parts(_part(part, "response_range"), "kvs")]
    return Put(header, False, _key(found[0]) if found else None)


def status_question() -> dict[str, Any]:
    return {}


def status_answer(data: bytes) -> Header:
    return _header(_json(data))


def token_question(user: str, password: str) -> dict[str, Any]:
    return {"name": user, "password": password}


def token_answer(data: bytes) -> str:
    token = _json(data).get("token")
    if not isinstance(token, str) or not token or not token.isprintable() or len(token) > 4096:
        raise BadAnswerError("answers without a token")
    return token
