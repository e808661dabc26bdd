"""The end of this machine, at once: what ``monitor_action`` may ask for where a service must leave without its stop.

Through the kernel's own key (sysrq), which needs no process, no library, and no disk that answers.
"""

from ha.services.errors import ServiceError

_TRIGGER = "/proc/sysrq-trigger"
_KEYS = {"reboot": b"b", "crash": b"c"}


def end(how: str) -> None:
    """``reboot`` (nothing is written to disks any more) or ``crash`` (a dump is taken where one is set up)."""
    try:
        with open(_TRIGGER, "wb", buffering=0) as file:
            file.write(_KEYS[how])
    except OSError as error:
        raise ServiceError(f"{how}: {_TRIGGER}: {error.strerror}") from None
