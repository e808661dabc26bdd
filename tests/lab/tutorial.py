"""Two nodes as the tutorial has them before "Service Creation": ezha installed, ssh both ways, a shared disk.

The nodes of the lab share the machine's /usr and /mnt. Here /usr/bin is theirs to write to (an overlay), /mnt is one
folder that both see, in place of the storage network, and /svc1 is a node's own, too.
"""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from ha.lab import loop
from ha.lab.lab import INSTALL, Lab

SERVICE = "p26.opensvc.com"
ADDRESS = "192.168.100.201"
NODES = ("node1", "node2")
VOLUMES = ("lvappsvc1", "lvdatasvc1")
_BLOCKS = 12288
"""Of 1,024 bytes, as in the tutorial."""
FILES = Path(__file__).parent / "transcripts" / "files"
_ROOT = Path("/svc1")
"""Made on the machine, for nodes to mount a folder of their own there."""
_SSH = "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  BatchMode yes\n"
_SSHD = "HostKey /root/.ssh/host\nPidFile none\nPermitRootLogin yes\nStrictModes no\nUsePAM no\nUseDNS no\n"


class Tutorial:
    """The lab as the tutorial wants it. ``close`` what was opened."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.shared = Path(lab.folder).parent / "shared"
        self.shared.mkdir()
        self._sshd: dict[str, subprocess.Popen[str]] = {}
        for name in VOLUMES:
            self._run(["mkfs.ext3", "-q", "-b", "1024", str(self.shared / name), str(_BLOCKS)])
        for path in FILES.iterdir():
            shutil.copy(path, self.shared)
        self._keys()
        try:
            _ROOT.mkdir(exist_ok=True)
            for node in NODES:
                Path(self.lab.files(node), "root", "svc1").mkdir()
                self.ready(node)
        except BaseException:
            self.close()
            raise

    def ready(self, node: str) -> None:
        """What a boot of the node undoes."""
        steps = (
            "mkdir -p /run/bin/upper /run/bin/work /run/sshd",
            "mount -t overlay -o lowerdir=/usr/bin,upperdir=/run/bin/upper,workdir=/run/bin/work overlay /usr/bin",
            f"mount --bind {self.shared} /mnt",
            "mount --bind /root/svc1 /svc1",
        )
        for step in steps:
            self.must(node, *step.split())
        self.must(node, *INSTALL, "--svcmgr")
        self._sshd[node] = self.lab.popen(
            node, ["/usr/sbin/sshd", "-D", "-f", "/root/.ssh/sshd"], stderr=subprocess.DEVNULL
        )

    def _keys(self) -> None:
        for node in NODES:
            ssh = Path(self.lab.files(node), "root", ".ssh")
            ssh.mkdir(mode=0o700)
            for name in ("id_ed25519", "host"):
                self._run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / name)])
            (ssh / "config").write_text(_SSH)
            (ssh / "sshd").write_text(_SSHD)
        for node in NODES:
            peers = (Path(self.lab.files(each), "root/.ssh/id_ed25519.pub").read_text() for each in NODES)
            Path(self.lab.files(node), "root/.ssh/authorized_keys2").write_text("".join(peers))
            with Path(self.lab.files(node), "etc/hosts").open("a") as hosts:
                hosts.write(f"{ADDRESS} {SERVICE}\n")

    def must(self, node: str, *argv: str) -> str:
        done = self.lab.exec(node, list(argv))
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout

    def _run(self, argv: list[str]) -> None:
        subprocess.run(argv, check=True, capture_output=True)

    def close(self) -> None:
        """Ends what the lab does not know of. A device that is in use still goes with its last user."""
        for name in VOLUMES:
            loop.detach_all(str(self.shared / name))
        for child in self._sshd.values():
            child.kill()
            child.wait()
        with suppress(OSError):  # a test that was not ours may need it still
            _ROOT.rmdir()
