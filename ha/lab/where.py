"""Where a lab is, of what kind, and where in it a node: what ``ezha lab exec`` needs, quick to import."""

import json
import os

from ha.lab.errors import LabError


def default_dir() -> str:
    """Root: /var/tmp/ezha-lab. Others: ~/.local/state/ezha-lab, or below XDG_STATE_HOME."""
    if os.geteuid() == 0:
        return "/var/tmp/ezha-lab"  # noqa: S108  # the folder's owner and mode are checked before it is used
    return os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "ezha-lab")


def dir_option(folder: str) -> str:
    """What to add to a command so that it means this lab."""
    return "" if folder == default_dir() else f" --dir {folder}"


def nodes_are_machines(folder: str) -> bool:
    """Whether that is on record there; False also where no lab is."""
    try:
        with open(f"{folder}/state.json", "rb") as file:
            return bool(json.load(file).get("backend") == "vm")
    except (OSError, ValueError, AttributeError):  # told by whoever then looks for a node there
        return False


def first_process(folder: str, name: str) -> tuple[int, int]:
    """Pid and start time of a node's first process, as recorded; whether it lives is found out by entering it.

    Raises LabError.
    """
    try:
        with open(f"{folder}/state.json", "rb") as file:
            nodes = {str(node["name"]): node["init"] for node in json.load(file)["nodes"]}
        init = nodes[name]
        return (int(init["pid"]), int(init["start"])) if init else _off(name)
    except (FileNotFoundError, NotADirectoryError):
        raise LabError(f"no lab in {folder}; make one with: ezha lab up{dir_option(folder)}") from None
    except OSError as error:
        raise LabError(f"{folder}/state.json: {error.strerror}; is the lab there another user's?") from None
    except KeyError as error:
        if error.args != (name,):
            raise LabError(f"{folder}/state.json is not a lab's state") from None
        raise LabError(f"unknown node {name!r}; this lab has {', '.join(nodes)}") from None
    except (ValueError, TypeError):
        raise LabError(f"{folder}/state.json is not a lab's state") from None


def _off(name: str) -> tuple[int, int]:
    raise LabError(f"{name} is powered off")
