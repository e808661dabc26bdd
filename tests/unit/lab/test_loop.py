"""What is read of loop devices that others have left behind."""

import errno
import os

import pytest

from ha.lab import loop


def _fails_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(*words: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(loop.fcntl, "ioctl", ioctl)


@pytest.mark.parametrize("number", [errno.ENXIO, errno.ENOTCONN, errno.ECONNABORTED])
def test_nothing_is_behind_a_device_without_a_file_or_whose_file_is_gone(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fails_with(number, monkeypatch)
    assert loop.backing_of(os.devnull) is None


def test_what_is_not_expected_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _fails_with(errno.EIO, monkeypatch)
    with pytest.raises(OSError):
        loop.backing_of(os.devnull)
