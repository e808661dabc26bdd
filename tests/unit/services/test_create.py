"""``svcmgr create``: empty, from a template, or by answers; never over what is there."""

import os
from pathlib import Path

import pytest

from ha.services.context import Paths
from ha.services.create import create
from ha.services.errors import ServiceError

pytestmark = pytest.mark.usefixtures("drivers")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(etc=str(tmp_path / "etc"))


def make(paths: Paths, *, template: str = "", answers: list[str] | None = None) -> tuple[list[str], list[str]]:
    """What is wrong with the new file, and what was asked."""
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        if not answers:
            raise EOFError
        return answers.pop(0)

    wrong = create(paths, "svc1", "node1", "/opt/bin/svcmgr", template, None if answers is None else ask)
    assert not answers, "not all was asked"
    return wrong, asked


def test_an_empty_service_and_all_that_belongs_to_it(paths: Paths) -> None:
    assert make(paths)[0] == []
    etc = Path(paths.etc)
    assert sorted(os.listdir(etc)) == ["svc1", "svc1.conf", "svc1.d", "svc1.dir"]
    assert (etc / "svc1.d").readlink() == Path("svc1.dir")
    assert (etc / "svc1").readlink() == Path("/opt/bin/svcmgr")
    assert (etc / "svc1.conf").read_text().endswith("[DEFAULT]\nnodes = node1\nautostart_node = node1\n")
    assert (etc / "svc1.conf").stat().st_mode & 0o777 == 0o644


def test_a_template_is_copied_as_it_is_and_told_what_it_lacks(paths: Paths, tmp_path: Path) -> None:
    template = tmp_path / "web.env"
    template.write_text("[DEFAULT] # mine\nnodes = node1 node2\n[fs#0]\n")
    assert make(paths, template=str(template))[0] == [
        f"{paths.etc}/svc1.conf:3: [fs#0] mnt is missing: where it is mounted"
    ]
    assert Path(paths.etc, "svc1.conf").read_text() == template.read_text()


@pytest.mark.parametrize("name", ["svc1.env", "svc1.conf"])
def test_what_is_there_is_not_replaced(paths: Paths, name: str) -> None:
    os.mkdir(paths.etc)
    Path(paths.etc, name).write_text("mine")
    with pytest.raises(ServiceError, match="the service svc1 is there already"):
        make(paths)
    assert Path(paths.etc, name).read_text() == "mine"
    assert os.listdir(paths.etc) == [name]


def test_it_asks_for_every_key_until_the_answer_can_be_used(paths: Paths) -> None:
    answers = ["", "PRD", "node1 node2", "tape", "fs", "", "", "", "here", "/srv", "many", "12", "", ""]
    wrong, asked = make(paths, answers=answers)
    assert wrong == []
    text = Path(paths.etc, "svc1.conf").read_text()
    assert "nodes = node1 node2\n" in text
    assert text.endswith("service_type = PRD\n\n[fs#0]\nmnt = /srv\nsize = 12\n")
    assert "mnt 'here' is not an absolute path" in "".join(asked)


def test_where_nobody_answers_nothing_is_made(paths: Paths) -> None:
    with pytest.raises(EOFError):
        make(paths, answers=[])
    assert not os.path.exists(paths.etc)
