"""Where ezha lies in a machine: as the tutorial has it, or as its Debian package does. Names only."""

from dataclasses import dataclass, field

from ha.lab.plan import PREFIX

_UNIT_LINK = "/etc/systemd/system/multi-user.target.wants/ezha.service"


@dataclass(frozen=True, slots=True)
class Payload:
    """An installation of ezha, as both init systems find it."""

    prefix: str
    conf: str
    start: dict[str, str] = field(default_factory=dict)
    """Links that a boot (and a shutdown) goes by, with what they lead to."""
    enabled: tuple[str, ...] = ()
    """What to remove, as patterns of a shell, where ezha is not to start at boot."""

    @property
    def bin(self) -> str:
        return f"{self.prefix}/bin"


COPY = Payload(
    prefix=PREFIX,
    conf=f"{PREFIX}/conf",
    start={
        _UNIT_LINK: "/etc/systemd/system/ezha.service",
        **{f"/etc/rc{level}.d/S99cluster": f"{PREFIX}/ezha.init" for level in (2, 3, 4, 5)},
        **{f"/etc/rc{level}.d/K01cluster": f"{PREFIX}/ezha.init" for level in (0, 1, 6)},
    },
)
"""What runs here, laid out by ``ezha install``. Nothing starts it but the links of OpenHA's tutorial, or the unit."""
PACKAGE = Payload(
    prefix="/usr/lib/openha",
    conf="/etc/openha",
    enabled=(_UNIT_LINK, "/etc/rc?.d/S??ezha"),
)
"""The package enables itself at its first installation."""
