"""Running the programs that an image is made with, outside of it and inside. Knows none of them."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable

from ha.lab import linux
from ha.lab.errors import LabError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STEP_S = 900.0


def run_in(tree: str, argv: list[str]) -> None:
    """Run a program of the image's own."""
    run(["chroot", tree, *argv], argv[0])


def run(argv: list[str], what: str) -> None:
    """Raises LabError with its last words."""
    environment = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    proxies = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    environment |= {name: os.environ[name] for name in proxies if name in os.environ}
    with tempfile.TemporaryFile() as output:
        try:
            code: int | str = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                env=environment,
                timeout=_STEP_S,
                preexec_fn=_follow(os.getpid()),
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"none within {_STEP_S:g} s"
        output.seek(0)
        words = output.read().decode(errors="replace").strip().splitlines()
    if code:
        raise LabError(f"the image: {what} fails (exit {code}): {words[-1] if words else 'it said nothing'}")


def _follow(parent: int) -> Callable[[], None]:
    """In the child: an image that nobody waits for any more is not made to its end."""

    def follow() -> None:
        linux.die_with_parent(signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return follow
