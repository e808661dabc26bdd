"""A service's file as text: what a person wrote survives every change, and every mistake has its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.services.ini import Ini

TUTORIAL = """\
[DEFAULT]                                       # Global section for service description
app = MyApp                                     # service application friendly name
nodes = node1 node2                             # cluster nodes

[ip#0]                                          # Ressource Section for ip address
ipname = p26.opensvc.com                        # specify the ip address
disable = False

[vg#0]
vgname=vgsvc1                                   # volume group name
"""


def test_the_tutorials_file_is_read() -> None:
    ini = Ini(TUTORIAL)
    assert not ini.problems
    assert [(s.name, s.line) for s in ini.sections.values()] == [("DEFAULT", 1), ("ip#0", 5), ("vg#0", 9)]
    assert [(e.name, e.value, e.line) for e in ini.sections["ip#0"].entries] == [
        ("ipname", "p26.opensvc.com", 6),
        ("disable", "False", 7),
    ]
    assert ini.sections["vg#0"].entries[0].value == "vgsvc1"


def test_a_value_may_hold_a_hash_and_go_on_below() -> None:
    ini = Ini("[app#1]\nstart = /a --rid fs#0 #not this\n   --more x\n\n   # told\nstop=/b\n")
    assert [(e.value, e.line, e.last) for e in ini.sections["app#1"].entries] == [
        ("/a --rid fs#0 --more x", 2, 3),
        ("/b", 6, 6),
    ]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("app = x\n", 1, "before the first section"),
        ("[DEFAULT]\nwhat is this\n", 2, "is not KEY = VALUE"),
        ("[DEFAULT]\na@ = 1\n", 2, "is not KEY = VALUE"),
        ("[DEFAULT]\na = 1\n\na = 2\n", 4, "stands on line 2 already"),
        ("[fs#0]\n[fs#0]\n", 2, "stands on line 1 already"),
        ("[fs 0]\n", 1, "is not a section"),
        ("[fs#0\n", 1, "is not a section"),
        ("[fs#0]\nmnt = /a\x1b[2J\n", 2, "control character"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, line: int, told: str) -> None:
    problems = Ini(text).problems
    assert [problem.line for problem in problems] == [line]
    assert told in problems[0].text


def test_setting_a_key_leaves_the_rest_as_it_was() -> None:
    ini = Ini(TUTORIAL)
    ini.put("ip#0", "ipname", "", "other.opensvc.com")
    old = "ipname = p26.opensvc.com                        # specify the ip address"
    new = "ipname = other.opensvc.com                      # specify the ip address"
    assert ini.text() == TUTORIAL.replace(old, new)


def test_a_long_value_pushes_its_comment_on() -> None:
    ini = Ini("[fs#0]\nmnt = /a # here\n")
    ini.put("fs#0", "mnt", "", "/a/much/longer")
    assert ini.text() == "[fs#0]\nmnt = /a/much/longer # here\n"


def test_a_new_key_stands_behind_the_others_and_a_new_section_at_the_end() -> None:
    ini = Ini("[fs#0]\nmnt = /a\n\n# the second\n[fs#1]\n")
    ini.put("fs#0", "dev", "node2", "/dev/sdb")
    ini.put("fs#1", "mnt", "", "/b")
    ini.put("ip#0", "ipname", "", "web")
    assert ini.text() == (
        "[fs#0]\nmnt = /a\ndev@node2 = /dev/sdb\n\n# the second\n[fs#1]\nmnt = /b\n\n[ip#0]\nipname = web\n"
    )


def test_a_key_is_dropped_with_all_its_lines() -> None:
    ini = Ini("[app#1]\nstart = /a\n  --b\nstop = /c\n")
    assert ini.drop("app#1", "start")
    assert not ini.drop("app#1", "start")
    assert not ini.drop("app#2", "start")
    assert ini.text() == "[app#1]\nstop = /c\n"


@pytest.mark.parametrize("value", ["a # b", "a\nb", " a", "#a", "a\x00"])
def test_a_value_that_could_not_be_read_again_is_refused(value: str) -> None:
    ini = Ini("[DEFAULT]\n")
    with pytest.raises(ValueError, match="could not be read again"):
        ini.put("DEFAULT", "app", "", value)
    assert ini.text() == "[DEFAULT]\n"


@given(st.text(max_size=300))
def test_any_text_stays_as_it_is(text: str) -> None:
    ini = Ini(text)
    assert ini.text() == text or ini.text() == text + "\n"


@given(st.text(alphabet="abc =#;[]@\n\t", max_size=80), st.text(alphabet="xyz/#=;@ ", min_size=1, max_size=10))
def test_what_is_put_is_read_again_and_nothing_else_changes(text: str, value: str) -> None:
    ini = Ini(text)
    before = {(s.name, e.key): e.value for s in ini.sections.values() for e in s.entries}
    problems = len(ini.problems)
    try:
        ini.put("zz#0", "key", "node1", value)
    except ValueError:
        return
    after = {(s.name, e.key): e.value for s in ini.sections.values() for e in s.entries}
    assert after == {**before, ("zz#0", "key@node1"): value}
    assert len(ini.problems) == problems
