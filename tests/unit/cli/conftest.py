"""An installation in a temporary folder, found through the environment as every command finds its own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The prefix. Its run folder is short: the path of a socket may have 107 bytes."""
    for name in ("bin", "conf", "log", "services"):
        (tmp_path / name).mkdir()
    for name in ("EZ_BIN", "EZ_NODES", "EZ_MONITOR", "EZ_CONF", "EZ_SERVICES", "EZ_VAR", "EZ_LOG", "EZ_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EZ", str(tmp_path))
    monkeypatch.setenv("EZ_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def run_dir(prefix: Path) -> str:
    return str(prefix / "run")
