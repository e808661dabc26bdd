"""The same seeds on other Pythons: ``python -m tests.simulation.pythons`` (or ``make pythons``).

CPython 3.12, 3.13 and 3.14 come from npm as Pyodide, which is CPython compiled to WebAssembly and runs in node: another
version, another compiler, another word size (32 bits), no C extensions. Where the digests of histories agree with this
interpreter's, nothing in the simulator leans on any of these. Needs node and npm; says so where they are missing.
PyPy 3.11, which long hunts run on, is ``tools/pypy``'s matter (Debian, as root).
"""

import shutil
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path

from ha.simulation.history import run
from ha.simulation.mix import draw_plan

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".pythons"
VERSIONS = {"3.12": "0.27.7", "3.13": "0.29.3", "3.14": "314.0.7"}
SEEDS = range(5)
_PROGRAM = """
import {{ loadPyodide }} from "pyodide";
const python = await loadPyodide();
for (const [inside, outside] of [["/project", {root!r}], ["/packages", {packages!r}]]) {{
    python.FS.mkdir(inside);
    python.FS.mount(python.FS.filesystems.NODEFS, {{ root: outside }}, inside);
}}
try {{
    console.log(python.runPython(`
import sys, types
try:
    import fcntl
except ModuleNotFoundError:  # older ones have none; the simulator locks no files and asks no device
    sys.modules["fcntl"] = types.ModuleType("fcntl")
    sys.modules["fcntl"].ioctl = None
sys.path[:0] = ["/project", "/packages"]
from tests.simulation.pythons import digests
" ".join((".".join(map(str, sys.version_info[:2])), *digests()))
`));
}} catch (error) {{
    console.error(error.message);
    process.exitCode = 1;
}}
"""


def digests() -> list[str]:
    """Of every seed's history."""
    return [run(draw_plan(seed), keep=False).digest for seed in SEEDS]


def elsewhere(version: str, package: str) -> list[str]:
    """The same, in another Python. Raises RuntimeError with what node said."""
    place = CACHE / version
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "node_modules" / "pyodide").is_dir():
        _call(["npm", "install", "--no-audit", "--no-fund", "--silent", f"pyodide@{package}"], place)
    program = place / "digests.mjs"
    program.write_text(_PROGRAM.format(root=str(ROOT), packages=sysconfig.get_path("purelib")))
    said = _call(["node", program.name], place).split()
    if said[:1] != [version]:
        raise RuntimeError(f"that is Python {said[:1]}, not {version}")
    return said[1:]


def on_pypy() -> list[str]:
    """The same, in PyPy. Raises RuntimeError with what it said."""
    asked = "from tests.simulation.pythons import digests; print(*digests())"
    return _call([str(ROOT / "tools" / "pypy"), "-c", asked], ROOT).split()


def _call(argv: list[str], place: Path) -> str:
    done = subprocess.run(argv, cwd=place, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def main() -> int:
    """Exit code 0: all agree."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            print(f"{program} is needed to run other Pythons, and is not installed", file=sys.stderr)
            return 2
    ours = digests()
    code = 0
    others = {f"Python {version}": partial(elsewhere, version, package) for version, package in VERSIONS.items()}
    for name, other in {**others, "PyPy 3.11": on_pypy}.items():
        differing = [seed for seed, a, b in zip(SEEDS, ours, other(), strict=True) if a != b]
        print(f"{name}: " + (f"seeds {differing} differ" if differing else f"{len(ours)} histories agree"))
        code = 1 if differing else code
    return code


if __name__ == "__main__":
    sys.exit(main())
