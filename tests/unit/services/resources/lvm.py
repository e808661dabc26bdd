"""An LVM that keeps its state in a folder: ``vgs``, ``vgchange`` and ``kpartx`` on PATH.

There is no device-mapper where these tests run. What the commands print and return was recorded from LVM 2.03.16
(metadata and tags on a loop device), and what activation prints from the tutorial; ``refuse`` and ``race`` make the
faults.
"""

from pathlib import Path

_VGS = """\
#!/bin/sh
report() { printf '  {"report": [{"vg": [%s]}]}\\n' "$1"; }
for name in "$@"; do :; done
if [ "$name" != "$(cat "$LVM/name")" ]; then
    report ""
    echo "  Volume group \\"$name\\" not found" >&2
    echo "  Cannot process volume group $name" >&2
    exit 5
fi
tags=$(sort -u "$LVM/tags" | paste -sd,)
row() { rows="$rows${rows:+, }{\\"vg_name\\":\\"$name\\", $1}"; }
case "$*" in
*vg_tags*) row "\\"vg_tags\\":\\"$tags\\"" ;;
*)
    for volume in lvappsvc1 lvdatasvc1; do
        state=-
        [ -e "$LVM/active" ] && state=a
        [ -e "$LVM/no-driver" ] && state=X
        row "\\"lv_name\\":\\"$volume\\", \\"lv_attr\\":\\"-wi-$state-----\\""
    done
    ;;
esac
report "$rows"
"""

_VGCHANGE = """\
#!/bin/sh
echo "vgchange $*" >>"$LVM/calls"
if [ "$3" != "$(cat "$LVM/name")" ] && [ "$3" != y ] && [ "$3" != n ]; then
    echo "  Volume group \\"$3\\" not found" >&2
    exit 5
fi
case $1 in
--addtag)
    echo "${2#@}" >>"$LVM/tags"
    [ -e "$LVM/race" ] && cat "$LVM/race" >>"$LVM/tags"
    echo '  Volume group "vgsvc1" successfully changed'
    ;;
--deltag)
    grep -vx "${2#@}" "$LVM/tags" >"$LVM/tags.new"
    mv "$LVM/tags.new" "$LVM/tags"
    echo '  Volume group "vgsvc1" successfully changed'
    ;;
-a)
    if [ -e "$LVM/refuse" ]; then
        [ "$2" = n ] && echo '  Logical volume vgsvc1/lvappsvc1 contains a filesystem in use.' >&2 && exit 5
        echo '  0 logical volume(s) in volume group "vgsvc1" now active'
        exit 0
    fi
    if [ "$2" = y ]; then
        : >"$LVM/active"
        echo '  2 logical volume(s) in volume group "vgsvc1" now active'
    else
        rm -f "$LVM/active"
        echo '  0 logical volume(s) in volume group "vgsvc1" now active'
    fi
    ;;
esac
"""

_KPARTX = '#!/bin/sh\necho "kpartx $*" >>"$LVM/calls"\n'


class Lvm:
    """The folder: PATH and LVM of ``env`` make commands use it."""

    def __init__(self, folder: Path, *tags: str, active: bool = False) -> None:
        self._folder = folder
        (folder / "bin").mkdir(parents=True)
        for name, text in (("vgs", _VGS), ("vgchange", _VGCHANGE), ("kpartx", _KPARTX)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        (folder / "name").write_text("vgsvc1\n")
        (folder / "tags").write_text("".join(f"{tag}\n" for tag in tags))
        if active:
            self.put("active")

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self._folder}/bin:/usr/bin:/bin", "LVM": str(self._folder)}

    @property
    def tags(self) -> list[str]:
        return sorted(set((self._folder / "tags").read_text().split()))

    @property
    def active(self) -> bool:
        return (self._folder / "active").exists()

    @property
    def calls(self) -> list[str]:
        """What changed something, in order."""
        calls = self._folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def put(self, name: str, text: str = "") -> None:
        """``active``; ``no-driver``; ``refuse``: (de)activation does nothing; ``race``: tags that come with ours."""
        (self._folder / name).write_text(text)
