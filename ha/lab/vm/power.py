"""A machine's process: joins the switch's network, where its tap is, and becomes qemu.

A helper as ``ha.lab.spawn`` has them: on record before it begins to work.
"""

import json
import os
import sys

from ha.lab import namespaces, spawn


def main() -> int:
    """``argv[1]``: JSON {name}. The job: {switch: pid of the client, folder: to run in, argv}."""
    birth = json.loads(sys.argv[1])
    job = spawn.detach()
    try:
        os.umask(0o077)
        os.chdir(job["folder"])
        namespaces.join(namespaces.open_all(int(job["switch"]), ("net",)))
    except OSError as error:
        spawn.say({"error": f"{birth['name']} does not get its power: {error}"})
        os._exit(1)
    spawn.say({"ok": True})
    spawn.let_go()
    os.execvp(job["argv"][0], job["argv"])


if __name__ == "__main__":
    sys.exit(main())
