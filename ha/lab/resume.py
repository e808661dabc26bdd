"""A helper that waits and then lets a paused node go on, for ``ezha lab pause --no-wait``."""

import json
import sys
import time

from ha.lab import spawn
from ha.lab.backend import open_lab
from ha.lab.errors import LabError


def main() -> int:
    """``argv[1]``: JSON {folder, node, seconds}."""
    job = json.loads(sys.argv[1])
    spawn.detach()
    spawn.say({"ok": True})
    spawn.let_go()
    time.sleep(float(job["seconds"]))
    try:
        open_lab(job["folder"]).resume(job["node"])
    except LabError as error:  # the lab went down or the node was powered off meanwhile: nothing is left to resume
        print(error, file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
