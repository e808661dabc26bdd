"""How long commands take from start to end, in turn. A program of its own: it runs in a node.

Arguments: rounds, JSON {name: [word, …]}. Prints JSON {name: [milliseconds, …]}.
"""

import json
import os
import sys
import time


def main() -> None:
    rounds, commands = int(sys.argv[1]), json.loads(sys.argv[2])
    null = os.open("/dev/null", os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, words in commands.items():
            began = time.perf_counter()
            pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
            status = os.waitpid(pid, 0)[1]
            spent = time.perf_counter() - began
            if status:
                sys.exit(f"{words} fails ({status})")
            if number:  # the first only warms the caches
                times[name].append(spent * 1000)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
