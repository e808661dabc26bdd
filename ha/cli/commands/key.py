"""``ezha key``: the keys that heartbeats are signed with, brought in and out in steps that cost no heartbeat.

What a ring is, and what each step makes of it, is ``ha.node.config.keyring``'s matter. Here is asked what the other
nodes are ready for: nmond knows, for every heartbeat tells which key signs it and which one its sender got last.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ha.cli.client import Answer, NotRunning, ask
from ha.cli.edit import reload_nmond
from ha.cli.guard import CliError, complain, say
from ha.cli.options import Parser
from ha.cli.place import layout
from ha.heartbeats.keys import MEANING, NO_KEY, KeyRing, shown
from ha.node.config import ConfigError, keyring
from ha.node.config.keyring import UNSIGNED

if TYPE_CHECKING:
    from ha.node.layout import Layout


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where it was done, or was done already."""
    parser = Parser("ezha key", "The keys that heartbeats are signed with. docs/security.md tells how to change them.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, does: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        one.set_defaults(verb=does)
        return one

    verb("new", _new, "make a random key in a file, to be copied to every node").add_argument("file", metavar="FILE")
    add = verb("add", _add, "step 1: accept the key in a file, or what is unsigned, besides what is accepted already")
    add.add_argument("what", metavar=f"FILE|{UNSIGNED}")
    sign = verb("sign", _sign, "step 2: sign with this key from now on; every node has to accept it")
    sign.add_argument("id", metavar=f"ID|{UNSIGNED}")
    retire = verb("retire", _retire, "step 3: accept it no longer; no node may sign with it any more")
    retire.add_argument("id", metavar=f"ID|{UNSIGNED}")
    for one in (sign, retire):
        one.add_argument("--force", action="store_true", help="also where not every node is known to be ready for it")
    status = verb("status", _status, "show the keys of this node, and what each of the others signs with")
    status.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(argv)
    does: Callable[[argparse.Namespace], int] = options.verb
    try:
        return does(options)
    except (ConfigError, ValueError) as error:
        raise CliError(str(error)) from None


# ------------------------------------------------------------------------------------------------ steps


def _new(options: argparse.Namespace) -> int:
    key = keyring.new_key()
    path = os.path.abspath(options.file)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, keyring.MODE)
    except FileExistsError:
        raise CliError(f"{path} is there already; no key is ever overwritten") from None
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(fd, "w", encoding="ascii") as file:
        os.fchmod(fd, keyring.MODE)
        file.write(keyring.key_text(key))
        file.flush()
        os.fsync(fd)
    say(f"key {shown(key.id)} is in {path}; copy it to every node by a safe way (scp), then there: ezha key add FILE")
    return 0


def _add(options: argparse.Namespace) -> int:
    place = layout()
    if options.what == UNSIGNED:
        ring = keyring.change_keys(place, _with_unsigned)
        return _changed(place, ring, "what is unsigned is accepted")
    key = keyring.read_key(os.path.abspath(options.what))
    ring = keyring.change_keys(place, lambda ring: keyring.accepting(ring, key))
    text = f"key {shown(key.id)} is accepted"
    if ring.signs != key.id:
        text += f"; once it is on every node: ezha key sign {shown(key.id)}"
    return _changed(place, ring, text)


def _with_unsigned(ring: KeyRing) -> KeyRing:
    return KeyRing(ring.keys, ring.signs, unsigned=True)


def _sign(options: argparse.Namespace) -> int:
    place, key_id = layout(), keyring.parse_id(options.id)
    if not options.force:
        _require(
            place, lambda peer: _accepts(peer, key_id), f"does not accept {_called(key_id)} yet: ezha key add there"
        )
    ring = keyring.change_keys(place, lambda ring: keyring.signing(ring, key_id))
    text = f"ours are signed with key {shown(key_id)}" if key_id != NO_KEY else "ours are not signed"
    return _changed(place, ring, f"{text}; once this is so on every node: ezha key retire the one before")


def _retire(options: argparse.Namespace) -> int:
    place, key_id = layout(), keyring.parse_id(options.id)
    if not options.force:
        word = "none" if key_id == NO_KEY else shown(key_id)
        wrong = (
            f"signs with {word} still: ezha key sign another one there"
            if key_id
            else "does not sign yet: ezha key sign"
        )
        _require(place, lambda peer: peer["signs"] not in (None, word), wrong)
    ring = keyring.change_keys(place, lambda ring: keyring.without(ring, key_id))
    return _changed(place, ring, f"{_called(key_id)} is not accepted any more")


def _called(key_id: int) -> str:
    return f"key {shown(key_id)}" if key_id != NO_KEY else "what is unsigned"


def _accepts(peer: Answer, key_id: int) -> bool:
    """As far as its heartbeats tell: of all that it accepts they name the key that it got last, and the one it uses.

    Whether it takes what is unsigned they do not tell, so no node is known to be ready for that.
    """
    return key_id != NO_KEY and shown(key_id) in (peer["newest"], peer["signs"])


def _require(place: "Layout", ready: Callable[[Answer], bool], wrong: str) -> None:
    """Raises CliError where a node is not known to be ready: it would not be understood, and silence is a takeover."""
    try:
        answer = ask(place, {"op": "keys"})
    except NotRunning:
        raise CliError(
            "nmond is not running here, so what the other nodes are ready for is not known; start it, or add --force"
        ) from None
    for peer in answer["peers"]:
        if peer["original"]:
            continue  # An OpenHA node knows no keys, whatever is done.
        if not peer["heard"]:
            raise CliError(f"nothing is heard of {peer['node']}, so it may not be ready; if it will be: add --force")
        if not ready(peer):
            raise CliError(f"{peer['node']} {wrong} (--force: do it all the same)")


def _changed(place: "Layout", ring: KeyRing, text: str) -> int:
    """Tell, and have nmond take it."""
    say(text)
    code = reload_nmond(place)
    say(MEANING[ring.mode])
    return code


# ----------------------------------------------------------------------------------------------- status


def _status(options: argparse.Namespace) -> int:
    place = layout()
    ring = keyring.load_keys(place)
    try:
        answer: Answer | None = ask(place, {"op": "keys"})
    except NotRunning:
        answer = None
    if options.json:
        import json

        told = answer or {
            "authentication": ring.mode.value,
            "signs": shown(ring.signs),
            "accepts": [*([UNSIGNED] if ring.unsigned else []), *(shown(key.id) for key in ring.keys)],
            "peers": None,
        }
        say(json.dumps({key: value for key, value in told.items() if key not in ("final", "ok")}, indent=2))
        return 0
    say(MEANING[ring.mode])
    for key in ring.keys:
        say(f"  key {shown(key.id)}  {'signs ours' if key.id == ring.signs else 'accepted'}")
    if ring.unsigned:
        say("  unsigned  accepted" if ring.signs != NO_KEY else "  unsigned  accepted, and so are ours")
    if answer is None:
        complain("nmond is not running: what the other nodes sign with is not known")
        return 0
    for peer in answer["peers"]:
        say(f"{peer['node']}: {_peer_text(peer)}")
    return 0


def _peer_text(peer: Answer) -> str:
    if peer["original"]:
        return "speaks as OpenHA does: its heartbeats cannot be signed, and are taken all the same"
    if peer["signs"] is None:
        return "not heard yet"
    signs = "does not sign" if peer["signs"] == "none" else f"signs with {peer['signs']}"
    newest = "has no key" if peer["newest"] == "none" else f"the key it got last is {peer['newest']}"
    silent = "" if peer["heard"] else f" (silent, last heard {peer['age']:.0f} s ago)"
    return f"{signs}, {newest}{silent}"
