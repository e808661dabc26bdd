"""``[ip#N]``: the addresses under which a service is reached, on a network device of this node.

Before anything of the service starts, the neighbours are asked whether one of them has an address already
(``ha.services.resources.probe``); once it is here, they are told. Addresses are added and removed over netlink.

A name is resolved when the service starts; what was added then is remembered in the run folder, so that a stop removes
just that, whether the resolver answers by then, answers otherwise, or not at all.
"""

import contextlib
import ipaddress
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.folders import replace_file
from ha.services.keys import Key, Kind, Values
from ha.services.resource import Resource
from ha.services.resources.addresses import Address, Assigned, Device, devices, ipv6_flags
from ha.services.resources.assign import add, host_lock, load, remove
from ha.services.resources.resolving import prefix_length, resolve
from ha.services.resources.steps import Budget, until
from ha.services.state import State, Status

_DAD_S = 5.0
"""How long the kernel's duplicate address detection may take: a random delay up to 1 s, and 1 s for each probe."""
_MOST = 64
"""Addresses of one resource."""
_MAX_MEMORY = 65_536


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One word of ``ipname``, resolved."""

    address: Address
    prefix: int | None
    """None: that of the device."""


class Ip(Resource):
    """Addresses on a device."""

    group = "ip"
    keys = (
        Key("ipname", Kind.WORDS, "names or addresses, an address also with its prefix (192.0.2.7/24)", required=True),
        Key("ipdev", doc="the network device, such as eth0", required=True),
        Key("netmask", doc="255.255.255.0 or 24; without it, that of the device"),
    )
    timeouts: ClassVar = {"start": 30.0, "stop": 30.0}

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        self.names = values.words("ipname")
        self.device = values.text("ipdev")

    @property
    def label(self) -> str:
        return f"{','.join(self.names)}@{self.device}"

    def problems(self) -> Iterable[tuple[str, str]]:
        if len(self.names) > _MOST:
            yield "ipname", f"has more than {_MOST} addresses; make another ip resource"
        if len(self.device.encode()) > 15 or "/" in self.device or self.device in (".", ".."):
            yield "ipdev", f"{self.device!r} cannot be a network device"
        mask = self.values.text("netmask")
        if mask and prefix_length(mask, 4) is None and prefix_length(mask, 6) is None:
            yield "netmask", f"{mask!r} is no netmask; write 255.255.255.0 or 24"
        for name in self.names:
            if "/" in name:
                try:
                    ipaddress.ip_interface(name)
                except ValueError as error:
                    yield "ipname", str(error)

    def abort_check(self, ctx: Context) -> str:
        """RFC 5227 and RFC 4862, section 5.4: an address that somebody has is left to him."""
        from ha.services.resources import probe

        wanted = self._resolved()
        present = devices()
        device = self._device(present)
        for each in wanted:
            where = [other.name for other in present.values() if other.holds(each.address) and other is not device]
            if where:
                return f"{each.address} is on {where[0]} of this node already"
        absent = [each.address for each in wanted if not device.holds(each.address)]
        for address in absent:
            ctx.log.info(f"checking {address} availability")
        try:
            found = probe.taken(device, absent, _macs(present), meanwhile=load)
        except OSError as error:
            raise ResourceError(
                f"{self.device} cannot be asked who has an address: {error.strerror or error}"
            ) from None
        return "; ".join(f"{address} is in use by {who}" for address, who in found.items())

    def start(self, ctx: Context) -> None:
        from ha.services.resources import probe

        budget = Budget(self.timeout("start"))
        wanted = self._resolved()
        device = self._device(devices())
        absent = [each for each in wanted if not device.holds(each.address)]
        for each in wanted:
            if each not in absent:
                ctx.log.info(f"{each.address} is already up on {self.device}")
        untold = self._untold(ctx)  # by a start that was killed before it came so far
        telling = [each.address for each in wanted if each in absent or each.address in untold]
        if not telling:
            return
        if absent:
            self._add(ctx, device, absent, budget)
        for address in telling:
            how = "gratuitous ARP" if address.version == 4 else "unsolicited neighbour advertisement"
            ctx.log.info(f"{how} of {address} on {self.device}")
        try:
            probe.announce(device, telling)
        except OSError as error:
            raise ResourceError(f"{self.device} cannot send: {error.strerror or error}") from None
        try:
            self._remember(ctx, self._remembered(ctx))
        except ResourceError as error:  # the next start announces them once more, no worse
            ctx.log.warning(str(error))

    def _add(self, ctx: Context, device: Device, absent: list[_Wanted], budget: Budget) -> None:
        """Addresses that are not there yet, until they can be used."""
        adding = [Assigned(each.address, each.prefix or self._prefix_of(each.address, device)) for each in absent]
        with host_lock(ctx, budget):
            self.activated = True
            new_ones = {each.address for each in adding}
            self._remember(ctx, {*self._remembered(ctx), *new_ones}, {*self._untold(ctx), *new_ones})
            for new in adding:
                ctx.log.info(f"ip addr add {new.address}/{new.prefix} dev {self.device}")
                add(device, new)
        self._await_dad(adding, budget)

    def stop(self, ctx: Context) -> None:
        budget = Budget(self.timeout("stop"))
        here = self._remembered(ctx)
        try:
            here |= {each.address for each in self._resolved()}
        except ResourceError as error:
            ctx.log.warning(f"{error}; removing what the start has added")
        present = devices()
        device = present.get(self.device)
        removing = [each for each in device.assigned if each.address in here] if device is not None else []
        if device is not None and removing:
            with host_lock(ctx, budget):
                for each in removing:
                    ctx.log.info(f"ip addr del {each.address}/{each.prefix} dev {self.device}")
                    remove(ctx, device, each)
            self._check_silent(ctx, device, removing, present)
        self._remember(ctx, set())

    def status(self, ctx: Context) -> Status:
        """By the names; where those do not resolve, or have moved on, by what the start has added."""
        added = self._remembered(ctx)
        try:
            wanted = {each.address: None for each in self._resolved()}
        except ResourceError as error:
            if not added:
                return Status(State.WARN, (str(error),))
            wanted = dict.fromkeys(sorted(added, key=str))
            told: tuple[str, ...] = (f"{error}; judged by what its start has added",)
        else:
            told = ()
        present = devices()
        device = present.get(self.device, Device(self.device))
        here = [address for address in wanted if device.holds(address)]
        notes = [
            f"{address} is on {other.name}"
            for other in present.values()
            for address in wanted
            if other is not device and other.holds(address)
        ]
        moved = [address for address in added if address not in wanted and device.holds(address)]
        notes += [f"{address} is here, which {', '.join(self.names)} no longer means" for address in moved]
        for address in here:
            if isinstance(address, ipaddress.IPv6Address) and ipv6_flags(address, self.device)[1]:
                notes.append(f"{address} is in use by another machine, too (duplicate address)")
        lost = [f"{address} is missing" for address in wanted if (here or moved) and address not in here]
        if here and not device.up:
            lost.append(f"{self.device} is down")
        elif here and not device.carrier:
            lost.append(f"{self.device} has no carrier")
        if notes or lost:
            # Half of the addresses, or a dead link, is a service that is not reached; the rest nobody here can judge.
            return Status(State.WARN, (*told, *notes, *lost), failed=bool(lost) and not moved)
        return Status(State.UP if here else State.DOWN, told)

    # --------------------------------------------------------------------------------------------- names, masks

    def _resolved(self) -> list[_Wanted]:
        """Raises ResourceError where a name does not resolve in time."""
        mask = self.values.text("netmask")
        found = []
        for name in self.names:
            if "/" in name:
                interface = ipaddress.ip_interface(name)
                found.append(_Wanted(interface.ip, interface.network.prefixlen))
            else:
                address = resolve(name)
                prefix = prefix_length(mask, address.version) if mask else None
                if mask and prefix is None:
                    raise ResourceError(f"the netmask {mask} does not fit {address}")
                found.append(_Wanted(address, prefix))
        return found

    def _device(self, present: dict[str, Device]) -> Device:
        device = present.get(self.device)
        if device is None:
            raise ResourceError(f"there is no network device {self.device}; there are: {', '.join(sorted(present))}")
        if not device.up:
            raise ResourceError(f"the network device {self.device} is down; set it up: ip link set {self.device} up")
        return device

    def _prefix_of(self, address: Address, device: Device) -> int:
        """That of the device's network which the address lies in, else that of the device's first address."""
        same = [each for each in device.assigned if each.address.version == address.version]
        same = [each for each in same if not each.address.is_link_local or address.is_link_local]
        inside = [each.prefix for each in same if address in each.network and each.prefix < address.max_prefixlen]
        if not same:
            raise ResourceError(
                f"{self.device} has no IPv{address.version} address to take the netmask from; set netmask"
            )
        return max(inside, default=same[0].prefix)

    # -------------------------------------------------------------------------------------------------- changes

    def _await_dad(self, added: list[Assigned], budget: Budget) -> None:
        """Until the kernel has asked for duplicates of the IPv6 addresses, which cannot be used before."""
        for each in added:
            address = each.address
            if not isinstance(address, ipaddress.IPv6Address):
                continue
            settled = until(partial(_settled, address, self.device), budget, _DAD_S)
            if ipv6_flags(address, self.device)[1]:
                raise ResourceError(f"{address} is in use by another machine (duplicate address detection)")
            if not settled:
                raise ResourceError(
                    f"{address} is still tentative after {_DAD_S:g} s: is there a carrier on {self.device}?"
                )

    def _check_silent(
        self, ctx: Context, device: Device, removed: Iterable[Assigned], present: dict[str, Device]
    ) -> None:
        """Nothing is left here; whoever answers still is another machine, and people must know."""
        from ha.services.resources import probe

        for each in removed:
            ctx.log.info(f"checking {each.address} availability")
        try:
            found = probe.taken(device, [each.address for each in removed], _macs(present), rounds=1)
        except OSError as error:
            ctx.log.warning(f"{self.device} cannot be asked who has an address: {error.strerror or error}")
            return
        for address, who in found.items():
            ctx.log.warning(f"{address} is gone from here, and {who} answers for it")

    # -------------------------------------------------------------------------------------------------- memory

    def _memory(self, ctx: Context) -> str:
        return f"{ctx.paths.run}/{ctx.service}.{self.rid}.addresses"

    def _remembered(self, ctx: Context) -> set[Address]:
        """What starts have added."""
        return set(self._record(ctx))

    def _untold(self, ctx: Context) -> set[Address]:
        """What a start has added, and no start has announced yet."""
        return {address for address, told in self._record(ctx).items() if not told}

    def _record(self, ctx: Context) -> dict[Address, bool]:
        """Each address, and whether it was announced."""
        try:
            with open(self._memory(ctx), "rb") as file:
                found = json.loads(file.read(_MAX_MEMORY))
            if not isinstance(found, dict):
                found = dict.fromkeys(found, True)  # of a version that noted no more
            return {ipaddress.ip_address(text): bool(told) for text, told in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            ctx.log.warning(f"{self._memory(ctx)} cannot be read: {error}")
            return {}

    def _remember(self, ctx: Context, addresses: set[Address], untold: Collection[Address] = ()) -> None:
        path = self._memory(ctx)
        try:
            if not addresses:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                return
            replace_file(path, json.dumps({str(each): each not in untold for each in sorted(addresses, key=str)}))
        except OSError as error:
            raise ResourceError(f"{path} cannot be written: {error.strerror or error}") from None


def _macs(present: dict[str, Device]) -> set[bytes]:
    return {device.mac for device in present.values() if device.mac}


def _settled(address: ipaddress.IPv6Address, device: str) -> bool:
    tentative, failed = ipv6_flags(address, device)
    return failed or not tentative
