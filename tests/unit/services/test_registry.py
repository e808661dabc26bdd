"""Which driver a section has, and what all drivers declare."""

from pathlib import Path

import pytest

from ha.services.config import interpret, validate
from ha.services.errors import ServiceError
from ha.services.groups import GROUPS
from ha.services.ini import Ini
from ha.services.keys import Key
from ha.services.registry import driver, drivers
from ha.services.resource import COMMON_KEYS, Resource


@pytest.mark.parametrize(
    ("group", "kind", "name"),
    [
        ("fs", "ext3", "Fs"),
        ("fs", "", "Fs"),
        ("app", "", "Launchers"),
        ("app", "Forking", "Forking"),
        ("app", "ocf:heartbeat:pgsql", "Ocf"),
        ("hb", "OpenHA", "OpenHA"),
        ("stonith", "fence_ipmilan", "FenceAgent"),
        ("stonith", "callout", "Callout"),
    ],
)
def test_group_and_type_name_a_driver(group: str, kind: str, name: str) -> None:
    assert driver(group, kind).__name__ == name


@pytest.mark.parametrize(
    ("group", "kind", "told"),
    [
        ("raid", "", "raid is not a kind of resource; there are: vg, disk, fs, ip, app, sync, hb, stonith"),
        ("app", "simpel", "type 'simpel' is not known for app; there are: simple, forking, ocf"),
        ("hb", "", "type is missing; there are: openha"),
        ("ip", "docker", "type 'docker' is not known for ip; leave it out"),
    ],
)
def test_what_is_not_known_is_told_with_what_is(group: str, kind: str, told: str) -> None:
    with pytest.raises(ServiceError) as raised:
        driver(group, kind)
    assert str(raised.value) == told


@pytest.mark.parametrize("cls", drivers(), ids=lambda cls: cls.__name__)
def test_what_a_driver_declares_holds_together(cls: type[Resource]) -> None:
    assert cls.group in GROUPS
    assert cls.status is not Resource.status
    assert set(cls.timeouts) <= {"start", "stop", "status"}
    for key in (*COMMON_KEYS, *cls.keys):
        assert key.name == key.name.lower() and key.doc, key
        assert not (key.required and key.default is not None), key
        if key.default is not None:
            assert _again(key) == key.default, key


def _again(key: Key) -> object:
    """The default, as if it had been written in a file."""
    text = " ".join(key.default) if isinstance(key.default, tuple) else str(key.default)
    return key.parse(text)


def test_the_template_that_comes_with_ezha_is_a_service() -> None:
    template = Path(__file__).parents[3] / "conf" / "examples" / "service.conf"
    text = template.read_text()
    assert validate(Ini(text), str(template), "web") == []
    assert [each.rid for each in interpret(Ini(text), str(template), "web", "node2", launchers=False).resources] == [
        "ip#0",
        "vg#0",
        "fs#0",
        "app#0",
        "sync#i0",
    ]
