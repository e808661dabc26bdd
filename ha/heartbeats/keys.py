"""Under which keys this node signs its heartbeats, and which it accepts.

A message is signed by HMAC-SHA256 (RFC 2104), cut to ``envelope.TAG_SIZE`` bytes as RFC 2104, section 5, allows. A key
is 32 random bytes, so nobody guesses one; its id is made of them, so two keys of one id are two copies of one key.

Several keys are accepted at a time, so that a new one can be brought in on one node after the other without a missed
heartbeat. This module knows bytes only: neither the file that keys stand in (``ha.node.config.keyring``), nor messages.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256

SECRET_SIZE = 32
"""Bytes of a key."""
MAX_ID = 0xFFFF
NO_KEY = 0
"""The id that stands for "not signed"."""
_ID_SIZE = 2


class Mode(Enum):
    """How far the heartbeats that this node takes can be trusted."""

    UNAUTHENTICATED = "unauthenticated"
    """There is no key in use: whoever reaches the network or the disk can forge."""
    PERMISSIVE = "permissive"
    """Ours are signed; those of others are taken without a signature, too: a step on the way to ``ENFORCE``."""
    ENFORCE = "enforce"
    """Only what is signed with a key of ours is taken."""


MEANING = {
    Mode.UNAUTHENTICATED: "heartbeats are unauthenticated: whoever reaches the network or the disk can forge them",
    Mode.PERMISSIVE: "heartbeats are signed, and unsigned ones are taken, too: whoever reaches the network or the disk "
    "can forge them until ezha key retire unsigned",
    Mode.ENFORCE: "heartbeats are signed, and nothing else is taken",
}
"""What an administrator has to know of each."""


@dataclass(frozen=True, slots=True)
class Key:
    """A secret that all nodes of a cluster share."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError for a secret that is none, or whose id would be that of no key."""
        if len(self.secret) != SECRET_SIZE:
            raise ValueError(f"a key has {SECRET_SIZE} bytes, not {len(self.secret)}")
        if self.id == NO_KEY:
            raise ValueError("the id of this key would be 0000, which means no key; make another one")

    @property
    def id(self) -> int:
        """1 … 65,535. It is sent openly, and tells nothing that helps to find the secret."""
        return int.from_bytes(sha256(b"ezha key id\0" + self.secret).digest()[:_ID_SIZE], "big")


def shown(key_id: int) -> str:
    """An id as people see it."""
    return f"{key_id:04x}" if key_id != NO_KEY else "none"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys of a node at one time. Never changed: a rotation puts another ring in its place."""

    keys: tuple[Key, ...] = ()
    """Those that are accepted, the oldest first."""
    signs: int = NO_KEY
    """The id of the key that ours are signed with."""
    unsigned: bool = True
    """What is not signed is accepted."""
    _secrets: Mapping[int, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises ValueError where an id stands for two keys, or what ours are signed with is not among the keys."""
        secrets = {key.id: key.secret for key in self.keys}
        if len(secrets) != len(self.keys):
            raise ValueError("two keys have the same id")
        if self.signs != NO_KEY and self.signs not in secrets:
            raise ValueError("the key to sign with is missing")
        if self.signs == NO_KEY and not self.unsigned:
            raise ValueError("what is not signed is refused, and no key is there to sign with")
        object.__setattr__(self, "_secrets", secrets)

    @property
    def mode(self) -> Mode:
        if self.signs == NO_KEY:
            return Mode.UNAUTHENTICATED
        return Mode.PERMISSIVE if self.unsigned else Mode.ENFORCE

    @property
    def newest(self) -> int:
        """The id of the key that came last: the others need to know that we have it before they sign with it."""
        return self.keys[-1].id if self.keys else NO_KEY

    def has(self, key_id: int) -> bool:
        return key_id in self._secrets

    def code(self, key_id: int, data: bytes | memoryview, size: int) -> bytes:
        """The first ``size`` bytes (1 … 32) of the MAC of ``data``. Raises KeyError for a key that is not there."""
        return hmac.digest(self._secrets[key_id], data, "sha256")[:size]

    def matches(self, key_id: int, data: bytes | memoryview, code: bytes | memoryview) -> bool:
        """Whether ``code`` is that of ``data``; how long it takes does not depend on where it differs."""
        return hmac.compare_digest(self.code(key_id, data, len(code)), code)


NO_KEYS = KeyRing()
"""No key: checksums only."""


class CurrentKeys:
    """The ring in force in a process; a reload puts another one in its place."""

    __slots__ = ("ring",)

    def __init__(self, ring: KeyRing = NO_KEYS) -> None:
        self.ring = ring


# The ring between nmond and its workers.

_SIGNS, _ACCEPTS_UNSIGNED = 1, 2


def pack(ring: KeyRing) -> bytes:
    """As ``unpack`` takes it."""
    flags = _ACCEPTS_UNSIGNED if ring.unsigned else 0
    parts = [bytes((flags,))]
    parts += [bytes((_SIGNS if key.id == ring.signs else 0,)) + key.secret for key in ring.keys]
    return b"".join(parts)


def unpack(raw: bytes) -> KeyRing:
    """Raises ValueError for anything that ``pack`` did not make."""
    size = 1 + SECRET_SIZE
    if not raw or (len(raw) - 1) % size:
        raise ValueError(f"a key ring of {len(raw)} bytes")
    keys, signs = [], NO_KEY
    for start in range(1, len(raw), size):
        key = Key(raw[start + 1 : start + size])
        keys.append(key)
        if raw[start] & _SIGNS:
            signs = key.id
    return KeyRing(tuple(keys), signs, bool(raw[0] & _ACCEPTS_UNSIGNED))
