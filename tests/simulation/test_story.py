"""A history reads like a story: time, node, what happened and why; nothing twice, nothing left out that counts."""

from ha.simulation.history import run
from ha.simulation.plan import DISK_FAULTS, SHAPES, VERBS, Plan, parse_fault
from ha.simulation.story import Tone, World, clock, ending, layout, sentence, tell
from ha.simulation.trace import Entry, Kind

NODES, SERVICES = ("node1", "node2"), ("svc1",)
WORDS = {
    "NODE": "node1",
    "[NODE]": "node2",
    "[POINT]": "3",
    "SECONDS": "5",
    "PERCENT": "30",
    "COUNT": "7",
    "SERVICE": "svc1",
    "start|stop|check|status": "start",
    "SHAPE": "hangs",
    "NAME": "svc1",
    "STATE": "STARTED",
    "ACTION": "unfreeze",
    "[TARGET]": "node2",
    "[--i-know]": "--i-know",
    "net|disk|all|LINE": "net",
    "reversed|without|slower": "slower",
    "fails|hangs|slow|lies": "fails",
    "read-error|write-error|read-hang|write-hang|stale|torn|other": "stale",
}


def texts(*entries: Entry) -> list[str]:
    return [line.text for line in tell(entries)]


def test_every_fault_can_be_told_in_plain_words() -> None:
    for verb in VERBS.values():
        form = verb.words.split()
        for count in (len([w for w in form if not w.startswith("[")]), len(form)):
            fault = parse_fault(f"{verb.name} {' '.join(WORDS[w] for w in form[:count])} at 1", NODES, SERVICES)
            told = sentence(" ".join((fault.verb, *fault.words)) + (" for 5 s" if verb.lasts else ""))
            assert "{" not in told and "  " not in told, told
            assert "node1" in told or told.startswith("an operator types: "), told
            assert told.endswith("for 5 s") == verb.lasts
    for what in (*DISK_FAULTS, "other"):
        assert "node1" in sentence(f"disk {what} node1")
    for shape in SHAPES:
        assert "from now on" in sentence(f"script node1 svc1 start {shape}")


def test_an_operator_is_shown_to_type_what_he_would_type() -> None:
    assert sentence("order node1 svc1 unfreeze") == "an operator types: service -A svc1 unfreeze"
    assert sentence("order node1 svc1 switch node2 --i-know") == "an operator types: ezha switch svc1 node2 --i-know"
    assert sentence("leave node1 for 30 s") == "an operator types: ezha.init stop, for 30 s"


def test_a_refusal_that_was_answered_is_told_once() -> None:
    refused = Entry(1.0, Kind.REFUSED, "node1", "svc1", "it is not frozen")
    reply = Entry(1.0, Kind.REPLY, "node1", "svc1", "refused: it is not frozen")
    assert texts(refused, reply) == ["svc1: refused: it is not frozen"]
    other = Entry(1.0, Kind.PEER, "node1", "", "node2 is heard")
    assert texts(refused, other) == ["svc1: not done: it is not frozen", "node2 is heard"]
    assert texts(refused) == ["svc1: not done: it is not frozen"]


def test_a_transition_is_told_with_its_reason_and_the_evidence_that_the_reason_leaves_out() -> None:
    evidence = ("node2 is silent", "node2 on net: last news 10 s ago")
    entry = Entry(1.0, Kind.STATE, "node1", "svc1", "node2 is silent", "STOPPED", "START_READY", evidence)
    assert texts(entry) == [
        "svc1 STOPPED → START_READY: node2 is silent",
        "evidence: node2 on net: last news 10 s ago",
    ]


def test_scripts_are_told_with_how_they_ended_and_how_long_they_took() -> None:
    begun = Entry(1.0, Kind.SCRIPT, "node1", "svc1", "start script begins")
    ended = Entry(3.5, Kind.SCRIPT, "node1", "svc1", "start script exited 1")
    killed = Entry(9.0, Kind.SCRIPT, "node1", "svc1", "stop script killed 9")
    assert texts(begun, ended, killed) == [
        "the start script of svc1 begins",
        "the start script of svc1 ends with exit 1 after 2.50 s",
        "the stop script of svc1 is killed (signal 9)",
    ]


def test_the_story_says_how_long_a_service_ran_nowhere_and_shouts_when_it_runs_twice() -> None:
    world = World()
    lines = tell(
        [
            Entry(1.0, Kind.UP, "node1", "svc1", "physically up"),
            Entry(5.0, Kind.DOWN, "node1", "svc1", "physically down"),
            Entry(15.5, Kind.UP, "node2", "svc1", "physically up"),
            Entry(20.0, Kind.UP, "node1", "svc1", "physically up"),
        ],
        world,
    )
    assert [line.text for line in lines] == [
        "svc1 comes up on node1",
        "svc1 is down on node1; it runs nowhere now",
        "svc1 comes up on node2, after 10.50 s in which it ran nowhere",
        "svc1 comes up on node1, and is up on node2 AT THE SAME TIME",
    ]
    assert lines[-1].tone is Tone.BAD
    assert world.where("svc1") == "node2 and node1"


def test_times_and_nodes_stand_only_where_they_change() -> None:
    entries = [
        Entry(61.5, Kind.NODE, "node1", "", "one"),
        Entry(61.5, Kind.NODE, "node1", "", "two"),
        Entry(61.5, Kind.NODE, "node2", "", "three"),
        Entry(62.0, Kind.NODE, "node2", "", "four"),
    ]
    shown = [columns + line.text for columns, line in layout(tell(entries), since=1.0)]
    assert shown == [
        "  1:00.500  node1  one",
        "                   two",
        "            node2  three",
        "  1:01.000  node2  four",
    ]
    assert clock(3661.5, long=True) == "  1:01:01.500"


def test_a_whole_history_is_told_and_the_end_says_where_everything_is() -> None:
    faults = [
        parse_fault(text, NODES, SERVICES)
        for text in ("order node1 svc1 unfreeze at 5", "order node2 svc1 unfreeze at 9", "power-off node1 at 60 for 99")
    ]
    world = World()
    story = [line.text for line in tell(run(Plan("1", 200.0, tuple(faults))).entries, world)]
    assert "node1 loses its power, for 99 s" in story
    assert any("node1 is silent for 10.000 s" in text for text in story)
    assert any(text.startswith("svc1 comes up on node2, after ") for text in story)
    assert ending(world, SERVICES, {"svc1": NODES})[0] == "svc1 runs on node2"
