"""The page tells the whole history, loads nothing, and cannot be broken by what stands in a name or a reason."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ha.simulation.history import Outcome, run, texts_of
from ha.simulation.lanes import arrange
from ha.simulation.plan import Plan, parse_fault
from ha.simulation.report import render
from ha.simulation.scenario import cluster_of
from ha.simulation.trace import Entry, Kind

NODES, SERVICES = ("node1", "node2"), ("svc1",)
NASTY = '</script><b onload="x">&@DATA@@STORY@'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def plan_of(*sentences: str, seconds: float = 120.0) -> Plan:
    return Plan("5", seconds, tuple(parse_fault(sentence, NODES, SERVICES) for sentence in sentences))


TAKEOVER = plan_of(
    "order node1 svc1 unfreeze at 5",
    "order node2 svc1 unfreeze at 9",
    "cut net node2 at 20 for 5",
    "power-off node1 at 60",
)


def page_of(outcome: Outcome) -> str:
    return render(outcome, cluster_of(texts_of(outcome.plan, None)), f"ezha sim replay {NASTY}", f"ezha: {NASTY}")


def data_of(page: str) -> dict[str, list[dict[str, object]]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, list[dict[str, object]]] = json.loads(found[1])
    return data


class Page(HTMLParser):
    """Which elements there are, and what they point at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "onload", "action")]


def test_bars_say_which_state_from_when_to_when_and_why() -> None:
    outcome = run(TAKEOVER, messages=True)
    lanes = arrange(outcome.entries, {"svc1": NODES}, outcome.seconds)
    first = [bar.what for bar in lanes.states if bar.node == "node1" and bar.end < 60.1]
    assert first == ["FROZEN_STOP", "START_READY", "STARTING", "STARTED"], "what lasts no time is no bar"
    taken = next(bar for bar in lanes.states if bar.node == "node2" and bar.what == "START_READY")
    assert "node1 is silent" in taken.why and taken.evidence
    gap = next(bar for bar in lanes.absent if bar.node == "node1" and bar.begin == 60.0)
    assert gap.end == 120.0, "healed, it boots"
    (up1, up2) = lanes.up
    assert (up1.node, up1.end, up2.node) == ("node1", 60.0, "node2")
    assert up2.begin > 65.0
    assert [(bar.what, bar.begin, bar.end) for bar in lanes.faults] == [("cut", 20.0, 25.0), ("power-off", 60.0, 120.0)]
    assert lanes.both == []
    flight = lanes.flights[0]
    assert flight.source != flight.dest and flight.arrived > flight.sent


def test_the_original_s_messages_carry_no_more_than_who_sent_them_to_whom() -> None:
    lanes = arrange([Entry(3.0, Kind.MESSAGE, "node1", "", "", "node2", "node1")], {"svc1": NODES}, 9.0)
    assert [(f.sent, f.arrived, f.source, f.path) for f in lanes.flights] == [(3.0, 3.0, "node2", -1)]


def test_what_runs_twice_is_a_bar_of_its_own_until_it_ends() -> None:
    moments = ((1.0, Kind.UP, "node1"), (5.0, Kind.UP, "node2"), (9.0, Kind.DOWN, "node1"), (12.0, Kind.DOWN, "node2"))
    entries = [Entry(at, kind, node, "svc1", "") for at, kind, node in moments]
    lanes = arrange(entries, {"svc1": NODES}, 20.0)
    assert [(bar.node, bar.begin, bar.end) for bar in lanes.both] == [("node2", 5.0, 9.0)]
    assert [(bar.node, bar.begin, bar.end) for bar in lanes.up] == [("node1", 1.0, 9.0), ("node2", 5.0, 12.0)]


def test_the_page_loads_nothing_and_takes_no_text_for_markup() -> None:
    outcome = run(TAKEOVER, messages=True)
    outcome.entries.insert(3, Entry(1.0, Kind.VIOLATION, "node1", "svc1", NASTY))
    outcome.findings.safety.append(NASTY)
    text = page_of(outcome)
    page = Page(text)
    assert page.links == []
    assert page.tags.count("script") == 2 and "b" not in page.tags
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg|http-equiv", "", text)
    data = data_of(text)
    assert [mark["text"] for mark in data["marks"] if mark["what"] == "violation"] == [NASTY]
    assert text.count("@DATA@") >= 2, "told as it stands, not filled in again"
    assert "safety violation" in text


def test_a_clean_history_says_so_and_holds_messages_and_plan() -> None:
    text = page_of(run(TAKEOVER, messages=True))
    assert 'class="pill clean"' in text and "power-off node1 at 60" in text
    assert len(data_of(text)["flights"]) > 100


def test_a_page_is_not_green_where_a_service_ran_twice() -> None:
    plan = plan_of(
        "order node1 svc1 unfreeze at 5", "order node2 svc1 unfreeze at 9", "cut all node1 at 30 for 40", seconds=90.0
    )
    outcome = run(replace(plan, setting="nodes=2 protection=none"))
    assert outcome.clean and outcome.findings.dual == 1, "protection none: nothing could have told them"
    assert 'class="pill dual">ran twice' in page_of(outcome)


@pytest.fixture
def violated(blind: None, tmp_path: Path) -> Path:
    """A page of a history in which a planted bug lets both nodes start."""
    plan = plan_of("order node1 svc1 unfreeze at 5", "order node2 svc1 unfreeze at 5", seconds=30.0)
    outcome = run(plan, messages=True)
    assert outcome.findings.safety
    path = tmp_path / "page.html"
    path.write_text(page_of(outcome))
    return path


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_draws_it_without_a_complaint(violated: Path) -> None:
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=2000")
    shown = subprocess.run(
        [
            str(CHROMIUM),
            *flags,
            f"--user-data-dir={violated.parent}/profile",
            "--dump-dom",
            f"file://{violated}#messages",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr, shown.stderr
    drawn = re.search(r'data-drawn="(\d+)"', shown.stdout)
    assert drawn and int(drawn[1]) > 10
    assert shown.stdout.count('marker-end="url(#head)"') > 50, "messages are arrows"
    assert 'id="bad" class="bad">' in shown.stdout, "the way to the violation is offered"
