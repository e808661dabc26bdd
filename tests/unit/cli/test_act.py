"""The progress line, and an nmond that falls silent while somebody waits for an outcome."""

import threading

import pytest

from ha.cli import act, ezha, service

from . import fake


def test_progress_is_one_line_that_is_wiped_at_the_end(
    run_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    steps = [
        {"final": False, "service": "web", "text": "START_READY: the claim is told"},
        {"final": False, "service": "web", "text": "STARTED"},
        fake.final(results=[{"service": "web", "ok": True, "text": ""}]),
    ]
    with fake.nmond(run_dir, lambda request: steps):
        assert service.main(["-A", "web", "start"]) == 0
    first = "web: START_READY: the claim is told"
    second = "web: STARTED".ljust(len(first))
    assert capsys.readouterr() == ("", f"\r{first}\r{second}\r{' ' * len('web: STARTED')}\r")


def test_a_long_text_stays_on_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(act, "_width", lambda: 79)
    progress = act.Progress()
    progress.show("x\n" * 400)
    err = capsys.readouterr().err
    assert (err.count("\n"), err[0]) == (0, "\r")
    assert len(err) <= 80


def test_waiting_for_an_nmond_that_hangs_ends(
    run_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(act, "ANSWER_TIMEOUT_S", 0.01)
    silent = threading.Event()

    def script(request: fake.Answer) -> list[fake.Answer]:
        silent.wait(5)
        return []

    with fake.nmond(run_dir, script):
        try:
            assert service.main(["-A", "web", "start"]) == 1
        finally:
            silent.set()
    assert capsys.readouterr().err == (
        "service: nmond does not answer any more; what became of the action is not known\n"
    )


@pytest.mark.parametrize(
    ("environ", "said"),
    [({"SUDO_USER": "alice"}, "alice (uid "), ({"USER": "x\ny"}, "root (uid "), ({"USER": "u" * 80}, "root (uid ")],
)
def test_history_learns_who_asks(environ: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_USER", "LOGNAME", "USER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.getuid", lambda: 0)
    assert act.operator("service -A").startswith(said)


def test_a_refusal_as_a_whole_names_the_program(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"final": True, "ok": False, "text": "'node9' is no node of this cluster"}
    with fake.nmond(run_dir, {"action": answer}):
        assert ezha.main(["switch", "web", "node9"]) == 1
    assert capsys.readouterr().err == "ezha: 'node9' is no node of this cluster\n"
