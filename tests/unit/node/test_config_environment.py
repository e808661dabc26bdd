"""OpenHA's variables: an administrator who set them once must not have to learn that nobody reads them any more."""

from pathlib import Path

import pytest

from ha.node.config import ConfigError, Configuration, Options, Texts, load, parse
from ha.node.config.environment import VARIABLES
from ha.node.layout import Layout
from tests.unit.node.test_config import MONITOR, NODES, SERVICES

FREEZE, DELAY = VARIABLES
MANUAL = Path(__file__).parents[3] / "docs/configuration.md"


def configuration(options: str = "", **environ: str) -> Configuration:
    return parse(Texts(NODES, MONITOR, SERVICES, options, environ=environ), "node1")


def wrong(**environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configuration(**environ)
    return [str(problem) for problem in caught.value.problems]


def test_what_is_not_set_changes_nothing() -> None:
    assert configuration().options == configuration(**{FREEZE: "", DELAY: " "}).options == Options()


@pytest.mark.parametrize(
    ("word", "means"), [("yes", True), ("YES", True), ("1", True), ("no", False), ("false", False)]
)
def test_the_secondary_is_frozen_at_boot_where_openhas_variable_says_so(word: str, means: bool) -> None:
    assert configuration(**{FREEZE: word}).options.freeze_secondary_on_start is means


def test_the_talk_delay_reaches_the_engine() -> None:
    found = configuration(**{DELAY: "2"})
    assert (found.options.talk_delay, found.cluster.talk_delay) == (2, 2)


def test_options_toml_wins() -> None:
    found = configuration("freeze_secondary_on_start = false\ntalk_delay = 0.5\n", **{FREEZE: "yes", DELAY: "2"})
    assert (found.options.freeze_secondary_on_start, found.cluster.talk_delay) == (False, 0.5)
    found = configuration("ttl = 2\n", **{FREEZE: "yes", DELAY: "2"})
    assert (found.options.freeze_secondary_on_start, found.cluster.talk_delay) == (True, 2)


def test_what_makes_no_sense_is_refused_with_the_name_of_the_variable() -> None:
    where = "environment (/etc/default/openha)"
    assert wrong(**{FREEZE: "maybe"}) == [f"{where}: {FREEZE} is 'maybe'; give yes or no"]
    for delay in ("301", "-1", "2s", "nan"):
        assert wrong(**{DELAY: delay}) == [f"{where}: {DELAY} is {delay!r}; give seconds, 0 to 300"]


def test_a_node_takes_them_from_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    for name, text in (("nodes", NODES), ("monitor", MONITOR), ("services", SERVICES)):
        (tmp_path / "conf" / name).write_text(text)
    monkeypatch.setenv(FREEZE, "yes")
    monkeypatch.setenv(DELAY, "1.5")
    found = load(Layout(str(tmp_path)), "node1").options
    assert (found.freeze_secondary_on_start, found.talk_delay) == (True, 1.5)


def test_the_manual_names_them() -> None:
    text = MANUAL.read_text()
    assert all(f"| `{name}` |" in text for name in VARIABLES)
