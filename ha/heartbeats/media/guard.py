"""Whether a slot may be written: nothing that somebody else keeps on a disk is ever overwritten unasked.

A slot must be empty or hold a message of this very node and cluster, and the device must carry no signature (a file
system, a partition table, LVM). ``hb -a … --force`` overrides both: it clears the slot, and where the device carries a
signature it leaves a mark in the last bytes of the slot, which every later write keeps. Without that mark a slot that
was ours once would let us write into a file system made there since.
"""

import os
import subprocess
import time
from dataclasses import replace

from ha.fsm.identity import node_id as id_of
from ha.heartbeats import openha
from ha.heartbeats.envelope import CodecError, leading, origin_of, verify
from ha.heartbeats.keys import NO_KEY, NO_KEYS, CurrentKeys, KeyRing, shown
from ha.heartbeats.media.medium import MediumError, failure
from ha.heartbeats.media.slot import Slot
from ha.heartbeats.path import BLOCK, SLOT_END, PathLine

MARK = b"EZF\1"
"""Ends a slot that was claimed by force on a device with a signature."""
assert len(MARK) == SLOT_END
_PROBE_TIMEOUT_S = 20.0
_RECHECK_S = 10.0
"""A signature that was found is looked for again after this long: the probe costs a process."""
_BLKID_FOUND, _BLKID_NOTHING, _BLKID_AMBIGUOUS = 0, 2, 8


def split(block: bytes) -> tuple[bytes, bytes]:
    """What a slot holds, and its mark (MARK or nothing)."""
    if block.endswith(MARK):
        return block[: -len(MARK)], MARK
    return block, b""


def is_empty(content: bytes) -> bool:
    return content.count(0) == len(content)


def foreign(content: bytes, node: int, cluster: int | None, ring: KeyRing) -> str:
    """What stands in the slot, where it is neither empty nor a message of ``node`` in ``cluster``; else nothing.

    A cluster of None is any; what claims to be a message of ours is, signed or not: nobody needs it any more. One whose
    end is torn is ours all the same: a power failure in the middle of a write must not keep a node from its own slot.
    """
    if is_empty(content):
        return ""
    original = _original(content)
    if original:
        return "" if id_of(original) == node else f"a message of the OpenHA node {original}"
    try:
        origin = origin_of(content)
    except CodecError as error:
        if error.reason == "another version":
            return "a message of another version of ezha"
        first = content.lstrip(b"\0")[:8].hex(" ")
        return f"something that is not ezha's (it begins with the bytes {first})"
    if cluster is not None and origin.cluster != cluster:
        return "a message of another cluster"
    if origin.node != node:
        return f"a message of another node (id {origin.node:08x})"
    behind = _foreign_end(content, node, cluster, ring)
    return f"{behind} behind a message of this node" if behind else ""


def _original(content: bytes) -> str:
    """The node of OpenHA whose message stands there; empty: none does. Its node of our name was here before us."""
    try:
        return openha.decode(openha.struct_of(content)).node
    except CodecError:
        return ""


def _foreign_end(content: bytes, node: int, cluster: int | None, ring: KeyRing) -> str:
    """What follows an undamaged message: what follows a damaged one is the rest of a torn write.

    A message of ours in a later block is no stranger: two slots of ours become one when the path of the second goes.
    """
    try:
        message, rest = leading(content)
        key = origin_of(message).key
        if key != NO_KEY and not ring.has(key):
            # Whole or torn, that cannot be told: nothing behind it is given up.
            return "" if is_empty(rest) else f"bytes that cannot be judged without key {shown(key)}"
        verify(message, replace(ring, unsigned=True))
    except CodecError:
        return ""
    gap = -len(message) % BLOCK
    return foreign(rest[gap:], node, cluster, ring) if is_empty(rest[:gap]) else "something that is not ezha's"


def signature(device: str) -> str:
    """What ``blkid`` finds on the device, in a word or two; nothing where it finds nothing.

    Raises MediumError where it cannot tell.
    """
    # blkid ends with "nothing found" for a device that it cannot open, too.
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise failure(f"{device}: cannot tell whether it carries a file system", error) from error
    # Daemons are often started with a PATH that lacks sbin.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        probe = subprocess.run(
            ["blkid", "-p", "--", device],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": path, "LC_ALL": "C"},
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise MediumError(
            f"{device}: blkid, which tells whether it carries a file system, is not installed (package util-linux)"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MediumError(f"{device}: blkid, which tells whether it carries a file system, failed") from error
    if probe.returncode == _BLKID_NOTHING:
        return ""
    if probe.returncode == _BLKID_AMBIGUOUS:
        return "several at once"
    if probe.returncode != _BLKID_FOUND or not probe.stdout.strip():
        raise MediumError(
            f"{device}: blkid ended with {probe.returncode}; cannot tell whether it carries a file system"
        )
    return _kind(probe.stdout.decode("ascii", "replace"))


def _kind(output: str) -> str:
    """The type out of ``/dev/sdb: UUID="…" TYPE="ext4" …``."""
    for name in ("TYPE=", "PTTYPE="):
        for word in output.split():
            if word.startswith(name):
                return word[len(name) :].strip('"')[:40]
    return "of a kind that blkid does not name"


class Guard:
    """Says before the first write of a sender whether its slot may be written."""

    def __init__(self, line: PathLine, node: int, cluster: int, keys: CurrentKeys) -> None:
        self._line = line
        self._keys = keys
        self._node = node
        self._cluster = cluster
        self._refusal = ""
        self._refused_until = 0.0

    def admit(self, slot: Slot) -> bytes:
        """The mark that every write of the slot must keep. Raises MediumError where it must not be written."""
        content, mark = split(slot.read())
        found = foreign(content, self._node, self._cluster, self._keys.ring)
        if found:
            raise MediumError(_refused(self._line, f"the slot holds {found}"))
        if not mark:
            self._require_no_signature(slot)
        return mark

    def _require_no_signature(self, slot: Slot) -> None:
        if not self._refusal or time.monotonic() >= self._refused_until:
            slot.forget_cache()
            kind = signature(slot.device)
            self._refusal = _refused(self._line, f"{slot.device} carries a signature ({kind})") if kind else ""
            self._refused_until = time.monotonic() + _RECHECK_S
        if self._refusal:
            raise MediumError(self._refusal)


def claim_slot(line: PathLine, force: bool, *, cluster_id: int | None = None, ring: KeyRing = NO_KEYS) -> str:
    """For ``hb -a`` of a dio or disk line: look whether the slot may be used, and with ``force`` make it so.

    Without ``force`` nothing is written. With it, a slot that is not of ``line.node`` and ``cluster_id`` is cleared,
    and a device with a signature is accepted for this slot from now on; where ``cluster_id`` is None the slot is
    cleared in any case. ``ring``: of this node. Returns a sentence that says what was found or done. Raises
    MediumError, whose text says what stands in the way.
    """
    slot = Slot(line)
    slot.open(write=force)
    try:
        content, mark = split(slot.read())
        slot.forget_cache()
        kind = signature(slot.device)
        found = foreign(content, id_of(line.node), cluster_id, ring)
        if not force:
            if found:
                raise MediumError(_refused(line, f"the slot holds {found}"))
            if kind and not mark:
                raise MediumError(_refused(line, f"{line.device} carries a signature ({kind})"))
            return f"{line.label}: the slot is {'free' if is_empty(content) else f'that of {line.node}'}"
        if not found and not is_empty(content) and cluster_id is not None and bool(kind) == bool(mark):
            return f"{line.label}: the slot is already that of {line.node}"
        wanted = MARK if kind else b""
        slot.write(bytes(slot.size - len(wanted)) + wanted)
        held = f"it held {found}" if found else "it held nothing foreign"
        also = f"; the signature of {line.device} ({kind}) is disregarded for this slot" if kind else ""
        return f"{line.label}: the slot is cleared ({held}){also}"
    finally:
        slot.close()


def _refused(line: PathLine, why: str) -> str:
    command = f"hb -a -n {line.node} -t {line.medium} -i {line.device} -d {line.offset} -T {line.timeout:g} --force"
    return f"{line.label} is not written: {why}; if nobody needs it: {command}"
