"""The lease (docs/safety.md): who runs, and until when, whatever is cut. Each guard has a twin that removes it."""

from dataclasses import replace

import pytest

from ha.fsm import evidence, timing
from ha.fsm.config import PathId
from ha.fsm.engine import Engine
from ha.fsm.events import (
    Arbitrated,
    Command,
    ConfigChanged,
    ConfirmDown,
    Ended,
    Fenced,
    Guarded,
    Leave,
    OwnSlot,
    ScriptEnded,
    SlotRead,
    SlotView,
)
from ha.fsm.lapse import Lapses
from ha.fsm.lease import FOREVER
from ha.fsm.message import Incarnation
from ha.fsm.service import ORPHAN
from ha.fsm.standing import Standings
from ha.fsm.states import Action, Promise, ScriptKind, State
from ha.fsm.timing import DRIFT, Timing
from tests.unit.fsm.cluster import Cluster, T, config

S = State
NODES = ("node1", "node2")


def leased(protection: str = "disk", **more: object) -> Cluster:
    """Two nodes with a network path and a shared disk; the service runs on node1."""
    cluster = Cluster(config(paths=1, protection=protection, **more))  # type: ignore[arg-type]
    cluster.run(2.5)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(2.0)
    cluster.ask("node2", Action.UNFREEZE)
    cluster.run(2.0)
    assert cluster.states() == ["STARTED", "STOPPED"]
    return cluster


def cut_networks(cluster: Cluster) -> None:
    cluster.sever("node1", "node2")
    cluster.sever("node2", "node1")


def cut_disk(cluster: Cluster, *names: str) -> None:
    cluster.unwritable |= set(names)
    cluster.unreadable |= set(names)


def watch(cluster: Cluster, seconds: float, step: float = 0.1) -> list[tuple[float, list[str]]]:
    """The states of both, whenever they change."""
    begin, told = cluster.now, []
    while cluster.now < begin + seconds - 1e-9:
        cluster.run(step)
        states = cluster.states()
        running = [h.name for h in cluster.hosts.values() if h.alive and h.state() in (S.STARTED, S.STARTING)]
        assert len(running) < 2, (cluster.now - begin, running)
        if not told or told[-1][1] != states:
            told.append((round(cluster.now - begin, 3), states))
    return told


def test_all_figures_follow_from_the_timeout():
    for timeout in (0.2, 0.5, 1.0, 2.5, 10.0, 120.0):
        timing = Timing(timeout)
        assert 0 < timing.lease < timing.hard < timing.ended < timeout
        assert timing.slack > 0, timeout
        assert (timing.lease + timing.watchdog) * (1 + DRIFT) < timeout * (1 - DRIFT)
    assert Timing(2.5).watchdog == 1
    assert Timing(2.0).watchdog == 0


def test_all_networks_cut_and_the_disk_alive_it_stays():
    cluster = leased()
    cut_networks(cluster)
    assert watch(cluster, 3 * T) == [(0.1, ["STARTED", "STOPPED"])]


def test_every_disk_cut_and_the_networks_alive_it_stays():
    cluster = leased()
    cut_disk(cluster, *NODES)
    assert watch(cluster, 3 * T) == [(0.1, ["STARTED", "STOPPED"])]


def test_all_networks_and_the_disk_of_the_active_cut_the_other_takes_it_after_t():
    cluster = leased()
    cut_networks(cluster)
    cut_disk(cluster, "node1")
    told = watch(cluster, 2 * T)
    assert [s for _, s in told][-1] == ["STOPPED", "STARTED"]
    stopped = next(at for at, s in told if s[0] == "STOPPED")
    started = next(at for at, s in told if s[1] in ("STARTING", "STARTED"))
    assert stopped <= Timing(T).lease + 0.1
    assert T - 1 <= started <= T + 0.2


def test_all_networks_and_every_disk_cut_nobody_runs_it():
    cluster = leased()
    cut_networks(cluster)
    cut_disk(cluster, *NODES)
    assert watch(cluster, 3 * T)[-1][1] == ["STOPPED", "STOPPED"]
    assert "no lease" in cluster.hosts["node2"].engine.waits_for("web", cluster.now)
    assert any("lapsed" in n.text for n in cluster.hosts["node1"].notes)


def test_the_peer_off_and_the_disk_lost_nobody_runs_it_until_an_operator_says_that_it_is_down():
    cluster = leased()
    cluster.power_off("node2")
    cut_disk(cluster, "node1")
    assert watch(cluster, T)[-1][1][0] == "STOPPED"
    cluster.feed("node1", ConfirmDown("c", "node2"))
    cluster.run(1)
    assert cluster.states()[0] == "STARTED"
    assert watch(cluster, 3 * T)[-1][1][0] == "STARTED"
    # It outlives nmond.
    cluster.restart("node1", guard_until=cluster.now + 4 + Timing(T).margin)
    assert watch(cluster, 3 * T)[-1][1][0] == "STARTED"


def test_a_living_node_is_not_confirmed_down():
    cluster = leased()
    cluster.feed("node1", ConfirmDown("c", "node2"))
    reply = cluster.answer("node1", "c")
    assert reply is not None
    assert not reply.ok


def test_power_off_of_the_active_is_taken_over_after_t():
    cluster = leased()
    cluster.power_off("node1")
    told = watch(cluster, 2 * T)
    started = next(at for at, s in told if s[1] in ("STARTING", "STARTED"))
    assert T - 1 <= started <= T + 0.2


def test_a_silence_is_not_believed_while_its_slot_cannot_be_read():
    cluster = leased()
    cluster.power_off("node1")
    cluster.unreadable.add("node2")
    assert watch(cluster, 3 * T)[-1][1][1] == "STOPPED"
    cluster.unreadable.clear()
    cluster.run(2)
    assert cluster.states()[1] == "STARTED"


def test_a_slot_that_changes_without_sense_forbids_the_takeover():
    cluster = leased()
    cluster.power_off("node1")
    slot = next(p.id for p in cluster.config.paths_of("node1") if p.device)
    for _ in range(25):
        cluster.run(1.0)
        cluster.feed("node2", SlotRead(slot, cluster.now, SlotView.FOREIGN))
    assert cluster.states()[1] == "STOPPED"
    assert any("nothing in it can be accepted" in n.text for n in cluster.hosts["node2"].notes)
    cluster.run(T + 1.1)
    assert cluster.states()[1] == "STARTED"


def test_a_stop_that_fails_ends_with_the_machine_at_the_hard_deadline():
    cluster = leased()
    cluster.stopping = 1
    began = cluster.now
    cut_networks(cluster)
    cut_disk(cluster, "node1")
    watch(cluster, T - 1.0)
    host = cluster.hosts["node1"]
    assert host.fenced
    assert not host.alive
    assert cluster.now - began <= T
    cluster.stopping = 0
    watch(cluster, T)
    assert cluster.states()[1] == "STARTED"


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("state", [S.FROZEN_STOP, S.STOPPED, S.START_READY])
def test_what_a_failed_stop_left_is_stopped_before_the_machine_is_ended(state: State, code: int):
    """An operator put the failure aside, and its controller does not say that it is down: a lapse stops it once more.

    Twin: only where that fails, too, the machine has to go."""
    cluster = leased()
    cluster.stopping = 1
    cluster.ask("node1", Action.STOP)
    cluster.run(1)
    cluster.ask("node1", Action.FREEZE_STOP)
    cluster.run(1)
    node1 = cluster.hosts["node1"]
    if state is S.START_READY:
        cluster.ask("node2", Action.FREEZE_STOP)  # else it is given time for a claim of its own
        cluster.run(1)
    if state is not S.FROZEN_STOP:
        cluster.ask("node1", Action.UNFREEZE)
    cut_networks(cluster)
    cut_disk(cluster, *NODES)
    assert (node1.state(), node1.engine.services["web"].record.unclean) == (state, True)
    cluster.stopping = code
    cluster.run(Timing(T).lease + 0.5)
    assert node1.story()[-1] == ("STOP_FAILED" if code else "FROZEN_STOP" if state is S.FROZEN_STOP else "STOPPED")
    cluster.run(T)
    assert bool(node1.fenced) is bool(code)


def test_the_guard_is_told_before_a_start_and_let_go_after_the_stop():
    cluster = leased()
    host = cluster.hosts["node1"]
    timing = Timing(T)
    assert cluster.now < host.guard <= cluster.now + timing.hard
    cluster.ask("node1", Action.FREEZE_STOP)
    cluster.run(1)
    assert host.guard == float("inf")


def test_a_pause_longer_than_the_lease_is_acted_on_before_anything_else():
    cluster = leased()
    cluster.now += Timing(T).lease + 0.5
    effects = cluster.feed("node1", Command("late", "web", Action.FREEZE_START))
    assert effects.send is not None
    assert effects.send.services[0].state is S.STOPPING
    assert [r.kind.value for r in effects.run] == ["stop"]
    assert not any(r.ok for r in effects.replies)


def test_a_lapse_is_final():
    cluster = leased()
    cluster.now += Timing(T).lease + 0.5
    cluster.feed("node1", Guarded(Promise.STOP))
    assert cluster.states()[0] == "STOPPING"
    cluster.read("node1")
    cluster.deliver()
    assert cluster.states()[0] == "STOPPING"
    cluster.run(2)
    assert sorted(cluster.states()) == ["STARTED", "STOPPED"]


def test_a_frozen_run_needs_no_lease_once_the_others_know_it():
    cluster = leased()
    cluster.ask("node1", Action.FREEZE_START)
    cluster.run(1)
    cut_networks(cluster)
    cut_disk(cluster, *NODES)
    assert watch(cluster, 3 * T)[-1][1] == ["FROZEN_START", "STOPPED"]
    assert cluster.hosts["node1"].guard == float("inf")
    asked = cluster.ask("node1", Action.UNFREEZE)
    reply = cluster.answer("node1", asked)
    assert reply is not None
    assert not reply.ok


def test_a_frozen_run_that_nobody_knows_of_yet_is_under_the_lease():
    cluster = leased()
    cut_networks(cluster)
    cut_disk(cluster, *NODES)
    cluster.ask("node1", Action.FREEZE_START)
    assert cluster.states()[0] == "FROZEN_START"
    assert watch(cluster, 2 * T)[-1][1] == ["FROZEN_STOP", "STOPPED"]


def test_a_disk_that_nobody_else_reads_renews_nothing():
    cluster = Cluster(config(paths=1, protection="disk"))
    cluster.power_off("node2")
    cluster.run(2 * T)
    cluster.ask("node1", Action.UNFREEZE)
    assert watch(cluster, 3 * T)[-1][1][0] == "STOPPED"
    assert "not proven to be shared" in cluster.hosts["node1"].engine.waits_for("web", cluster.now)


def test_a_disk_proven_once_is_proven_again_by_our_own_last_message():
    cluster = leased()
    cluster.power_off("node2")
    cluster.restart("node1", boot=True)
    assert watch(cluster, 2 * T)[-1][1][0] == "STARTED"


def test_a_disk_that_was_not_proven_is_not_proven_by_what_was_written_there_meanwhile():
    """A private disk under the shared one's name: the second start finds there what the first one wrote."""
    cluster = leased()
    cluster.power_off("node1")
    cluster.slots.clear()
    cluster.power_off("node2")
    for _ in range(2):
        cluster.restart("node2", boot=True)
        assert watch(cluster, 2 * T)[-1][1][1] == "STOPPED"
    assert "not proven to be shared" in cluster.hosts["node2"].engine.waits_for("web", cluster.now)


def test_what_is_known_of_a_disk_is_on_record_only_once_it_was_opened():
    """And once another node's message was read beside ours: a message may be written before nmond knows where, and were
    it to die then, or could it write no record, the next would take that for a proof."""
    cluster = leased()
    before = cluster.hosts["node1"].disk
    assert before.shared == (cluster.config.paths_of("node1")[1].text,)
    engine = Engine(cluster.config, "node1", before, Incarnation(9, 9), cluster.now, boot=True)
    assert engine.start(cluster.now).incarnation
    assert engine.record().shared == ()
    engine.handle(OwnSlot(1, Incarnation(before.incarnation, 3), 4), cluster.now)
    assert engine.record().shared == ()
    slot = PathId("node2", 1)
    engine.handle(SlotRead(slot, cluster.now, SlotView.EMPTY), cluster.now)
    engine.handle(SlotRead(slot, cluster.now, SlotView.SAME), cluster.now)
    assert engine.record().shared == (), "nobody else has ever written there: it may be a disk of its own"
    engine.handle(SlotRead(slot, cluster.now - 1, SlotView.NEW), cluster.now)
    assert engine.record().shared == (), "that was before it was opened"
    engine.handle(SlotRead(slot, cluster.now, SlotView.SAME), cluster.now)
    assert engine.record().shared == before.shared


def test_a_disk_is_doubted_whatever_its_line_says_just_now():
    """A line that had another timeout for a while: a private disk that came meanwhile is not the shared one later."""
    cluster = leased()
    text = cluster.config.paths_of("node1")[1].text
    assert text in cluster.hosts["node1"].disk.shared
    slower = replace(
        cluster.config,
        paths=tuple(replace(p, text=p.text + " slower") if p.device else p for p in cluster.config.paths),
    )
    cluster.feed("node1", ConfigChanged(slower))
    cluster.feed("node1", OwnSlot(1, None))
    assert cluster.hosts["node1"].disk.shared == ()


def test_a_script_whose_end_could_not_be_written_is_not_signalled_by_a_lapse():
    cluster = Cluster(config(paths=1, protection="disk"))
    cluster.run(2.5)
    cluster.ask("node1", Action.UNFREEZE)
    host = cluster.hosts["node1"]
    while ScriptKind.START not in (kinds := [j.kind for j in host.jobs.values()]):
        if kinds:
            cluster.end("node1")
        cluster.run(0.1, scripts=False)
    host.disk_full = True
    ended = ScriptEnded("web", host.jobs.popitem()[0], Ended.EXITED)
    cluster.feed("node1", ended)
    assert host.state() is S.STARTING
    cut_networks(cluster)
    cut_disk(cluster, *NODES)
    while host.state() is not S.STOPPING:
        cluster.run(0.1, scripts=False)
    assert not host.killed
    cluster.feed("node1", ended)  # the driver tells it again, and the emergency stop does not wait for the disk
    assert [j.kind for j in host.jobs.values()] == [ScriptKind.STOP]


@pytest.mark.parametrize(("code", "abandoned"), [(0, []), (1, ["web is STOP_FAILED"])])
@pytest.mark.parametrize("protection", ["disk", "none"])
def test_a_node_that_leaves_knows_what_it_leaves(code: int, abandoned: list[str], protection: str):
    cluster = leased(protection)
    cluster.stopping = code
    cluster.feed("node1", Leave())
    cluster.run(0.5)
    node1 = cluster.hosts["node1"].engine
    assert node1.left
    assert node1.abandoned() == abandoned
    assert (node1._guard_time() < FOREVER) is (bool(abandoned) and protection == "disk")


def test_nmond_that_comes_back_after_its_lease_stops_what_it_finds():
    cluster = leased()
    cluster.power_off("node1")
    cluster.now += 2.0
    cluster.restart("node1", guard_until=cluster.now - 0.1 + Timing(T).margin)
    assert cluster.states()[0] == "STOPPING"


def test_nmond_that_comes_back_in_an_emergency_stop_kills_the_start_script_that_it_finds():
    """The nmond before it had that killed, too, and died before its end; the stop was not begun."""
    cluster = leased()
    (record,) = cluster.hosts["node1"].disk.services
    disk = replace(cluster.hosts["node1"].disk, services=(replace(record, state=S.STOPPING, unclean=True),))
    cluster.now += T
    host = cluster.boot("node1", disk, boot=False, orphans={"web": ScriptKind.START})
    assert host.state() is S.STOPPING and host.killed == [(ORPHAN, True)] and not host.jobs
    cluster.feed("node1", ScriptEnded("web", ORPHAN, Ended.KILLED, 9))
    assert [j.kind for j in host.jobs.values()] == [ScriptKind.STOP]


def test_nmond_that_comes_back_within_its_lease_adopts_what_it_finds():
    cluster = leased()
    cluster.power_off("node1")
    cluster.now += 2.0
    cluster.restart("node1", guard_until=cluster.now + 2.9 + Timing(T).margin)
    assert watch(cluster, 2 * T)[-1][1] == ["STARTED", "STOPPED"]


def test_without_the_promise_that_is_asked_for_nothing_is_started():
    conf = config(paths=1, protection="disk")
    cluster = Cluster(replace(conf, self_fence=Promise.REBOOT))
    cluster.run(2.5)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(2.5)
    assert cluster.states()[0] == "STOPPED"
    cluster.feed("node1", Guarded(Promise.REBOOT))
    cluster.run(1.0)
    assert cluster.states()[0] == "STARTED"


def test_nothing_is_taken_over_from_a_node_that_promised_nothing():
    cluster = leased()
    cluster.feed("node1", Guarded(Promise.NONE))
    cluster.run(2)
    cluster.power_off("node1")
    assert watch(cluster, 3 * T)[-1][1][1] == "STOPPED"
    assert "promised nothing" in cluster.hosts["node2"].engine.waits_for("web", cluster.now)


def test_stonith_takes_over_only_after_a_fencing_that_succeeded():
    cluster = leased("stonith")
    cluster.power_off("node1")
    watch(cluster, T + 1)
    other = cluster.hosts["node2"]
    assert other.fencing == ["node1"]
    assert cluster.states()[1] == "STOPPED"
    cluster.feed("node2", Fenced("node1", False, "no answer"))
    watch(cluster, 9.5)
    assert cluster.states()[1] == "STOPPED"
    watch(cluster, 2)
    assert other.fencing == ["node1", "node1"]
    cluster.feed("node2", Fenced("node1", True))
    cluster.run(0.1)
    assert cluster.states()[1] == "STARTED"


def test_with_disk_and_stonith_a_fencing_replaces_the_disk():
    cluster = leased("disk+stonith")
    cluster.power_off("node1")
    cluster.unreadable.add("node2")
    watch(cluster, T - 1)
    assert cluster.hosts["node2"].fencing == []
    watch(cluster, 3)
    assert cluster.hosts["node2"].fencing == []  # it has no lease of its own any more
    cluster.feed("node2", Fenced("node1", True))
    cluster.run(2)
    assert cluster.states()[1] == "STARTED"


@pytest.mark.parametrize("order", [("node1", "node2"), ("node2", "node1")])
def test_both_claim_at_once_with_only_the_disk_between_them(order):
    cluster = Cluster(config(paths=1, protection="disk"))
    cluster.run(2.5)
    cut_networks(cluster)
    cluster.run(T / 2)
    for name in order:
        cluster.ask(name, Action.UNFREEZE)
    watch(cluster, 5.0)
    assert sorted(cluster.states()) == ["STARTED", "STOPPED"]


def test_twin_a_lease_longer_than_t_runs_twice(monkeypatch):
    """Shows that the watch over the cuts finds a dual run."""
    monkeypatch.setattr(timing, "LEASE", 1.5)
    cluster = leased()
    cut_networks(cluster)
    cut_disk(cluster, "node1")
    with pytest.raises(AssertionError, match=r"node1.*node2"):
        watch(cluster, 2 * T)


def test_twin_a_failed_read_that_counts_takes_over(monkeypatch):
    """Shows that the unreadable slot is what holds the takeover back."""
    real = Standings._on_read

    def blind(self, event, now):
        real(self, replace(event, view=SlotView.SAME), now)

    monkeypatch.setattr(Standings, "_on_read", blind)
    cluster = leased()
    cluster.power_off("node1")
    cluster.unreadable.add("node2")
    assert watch(cluster, 2 * T)[-1][1][1] == "STARTED"


def test_twin_any_disk_renews_a_lease_where_the_proof_is_left_out(monkeypatch):
    """Shows that the missing proof is what keeps a lonely node from starting."""

    def trusting(self, event):
        self._shared[event.index] = None
        self._see_devices()

    monkeypatch.setattr(Standings, "_on_own_slot", trusting)
    cluster = Cluster(config(paths=1, protection="disk"))
    cluster.power_off("node2")
    cluster.run(2 * T)
    cluster.ask("node1", Action.UNFREEZE)
    assert watch(cluster, 3 * T)[-1][1][0] == "STARTED"


def test_twin_a_pause_that_is_not_looked_at_first_lets_a_heartbeat_of_a_run_out(monkeypatch):
    """Shows that the look at the lease comes before the event."""
    monkeypatch.setattr(Lapses, "_look_at_leases", lambda self, now: None)
    cluster = leased()
    cluster.now += Timing(T).lease + 0.5
    effects = cluster.feed("node1", Command("late", "web", Action.FREEZE_START))
    assert effects.send is not None
    assert effects.send.services[0].state is S.FROZEN_START


def test_twin_a_promise_that_is_not_asked_for_is_taken_over_from(monkeypatch):
    """Shows that the missing promise is what holds the takeover back."""
    monkeypatch.setattr(evidence, "_unpromised", lambda peer, entry, terms: "")
    cluster = leased()
    cluster.feed("node1", Guarded(Promise.NONE))
    cluster.run(2)
    cluster.power_off("node1")
    assert watch(cluster, 2 * T)[-1][1][1] == "STARTED"


def test_one_path_that_is_left_is_jeopardy():
    cluster = leased()
    assert cluster.hosts["node2"].engine.warnings() == []
    cut_networks(cluster)
    watch(cluster, T + 1)
    for name, other in (("node1", "node2"), ("node2", "node1")):
        (text,) = cluster.hosts[name].engine.warnings()
        assert text.startswith(f"IN JEOPARDY: of 2 heartbeat paths of {other} only dio /dev/sdb:")
        assert sum(n.text == text for n in cluster.hosts[name].notes) == 1
    cluster.heal()
    watch(cluster, 2)
    assert cluster.hosts["node2"].engine.warnings() == []


@pytest.mark.parametrize("stop", [False, True])
def test_dual_running_is_said_by_both_and_ended_where_that_is_asked_for(stop):
    cluster = Cluster(replace(config(), stop_lowest_rank=stop), {"node1": S.STARTED, "node2": S.STARTED})
    if stop:
        cluster.run(1)
        assert cluster.states() == ["STARTED", "STOPPED"]
        return
    cluster.run(1)
    for host in cluster.hosts.values():
        (text,) = host.engine.warnings()
        assert text.startswith("SPLIT BRAIN: web is STARTED here and STARTED on node")


def test_a_frozen_run_that_the_others_know_survives_another_nmond():
    cluster = leased()
    cluster.ask("node1", Action.FREEZE_START)
    cluster.run(1)
    assert cluster.hosts["node1"].guard == float("inf")
    cluster.restart("node1", guard_until=float("inf"))
    assert watch(cluster, 2 * T)[-1][1][0] == "FROZEN_START"


def test_a_lapse_that_is_seen_after_the_hard_deadline_still_stops_what_runs():
    cluster = leased()
    cluster.fences = False
    cluster.power_off("node2")
    cluster.now += 3 * T
    cluster.feed("node1", Guarded(Promise.STOP))
    (job,) = cluster.hosts["node1"].jobs.values()
    assert job.kind.value == "stop"
    cluster.now += 0.1
    cluster.feed("node1", Guarded(Promise.STOP))
    assert cluster.hosts["node1"].killed == []
    cluster.end("node1")
    assert cluster.states()[0] == "STOPPED"


@pytest.mark.parametrize(("promise", "ends"), [(Promise.STOP, "STOPPED"), (Promise.REBOOT, "with the machine")])
def test_a_stop_has_its_usual_time_where_nothing_ends_the_machine(promise: Promise, ends: str):
    """Ended half-way it would leave parts up, and nothing would end those."""
    cluster = Cluster(replace(config(paths=1, protection="disk"), self_fence=promise))
    cluster.fences = promise is Promise.REBOOT
    cluster.feed("node1", Guarded(promise))
    cluster.run(2.5)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(2)
    cut_networks(cluster)
    cut_disk(cluster, "node1")
    timing, host = Timing(T), cluster.hosts["node1"]
    cluster.run(timing.lease + 0.1, scripts=False)
    assert [job.kind.value for job in host.jobs.values()] == ["stop"]
    cluster.run(timing.hard - timing.lease, scripts=False)
    assert host.fenced
    assert host.killed == []
    if host.alive:
        cluster.end("node1")
    assert (host.state().name if host.alive else "with the machine") == ends


def test_etcd_is_asked_before_a_claim_and_its_word_is_what_a_silence_proves():
    cluster = Cluster(config(paths=1, protection="etcd"))
    cluster.run(2.5)
    for name in NODES:
        cluster.ask(name, Action.UNFREEZE)
        cluster.run(2)
    assert cluster.states() == ["STARTED", "STOPPED"]
    one, two = cluster.hosts.values()
    assert (one.wishes, two.wishes) == ([("web", True)], [])
    cluster.power_off("node1")
    watch(cluster, 2 * T)
    assert two.wishes == [("web", True)]
    assert cluster.states()[1] == "STOPPED"
    cluster.feed("node2", Arbitrated("web", True, cluster.now))
    cluster.run(0.1)
    assert cluster.states()[1] == "STARTED"
    # Another has it: what it renewed counts no more.
    cluster.feed("node2", Arbitrated("web", False, cluster.now))
    cluster.run(0.1)
    assert cluster.states()[1] == "STOPPED"


def test_a_lapse_does_not_wait_for_a_record_that_cannot_be_written():
    cluster = leased()
    host = cluster.hosts["node1"]
    cut_networks(cluster)
    cut_disk(cluster, "node1")
    host.disk_full = True
    cluster.run(Timing(T).lease + 0.1, scripts=False)
    assert [job.kind.value for job in host.jobs.values()] == ["stop"]
    assert next(r for r in host.disk.services).state is S.STARTED
    # That it is stopped is told only once it is on record.
    (job,) = host.jobs
    cluster.end("node1")
    assert cluster.states()[0] == "STOPPING"
    host.disk_full = False
    cluster.feed("node1", ScriptEnded("web", job, Ended.EXITED))  # the driver comes back to it
    cluster.run(2)
    assert cluster.states()[0] == "STOPPED"
    assert not host.fenced


def test_a_record_that_cannot_be_written_is_not_tried_all_the_time():
    cluster = leased()
    host = cluster.hosts["node1"]
    cut_networks(cluster)
    cut_disk(cluster, "node1")
    host.disk_full = True
    cluster.run(Timing(T).lease + 0.1, scripts=False)
    seq, begin = host.engine.seq, cluster.now
    cluster.run(2, scripts=False)
    assert cluster.now == begin + 2
    assert host.engine.seq - seq < 10


def reopened_while_another_falls_silent(cluster: Cluster) -> None:
    """node1 runs it and cannot write; it loses its power, and 0.9 T later node2 opens the disk anew, which node3, that
    proves it, cannot read for a while."""
    names = ("node1", "node2", "node3")
    cluster.unwritable.add("node1")
    cluster.slots.clear()
    for name in names:
        cluster.restart(name, boot=True)
    cluster.run(3.0)
    for name in names[:2]:
        cluster.ask(name, Action.UNFREEZE)
        cluster.run(3.0)
    assert cluster.states() == ["STARTED", "STOPPED", "FROZEN_STOP"]
    cluster.power_off("node1")
    cluster.run(0.9 * T)
    cluster.unreadable.add("node3")
    cluster.feed("node2", OwnSlot(1, None))
    cluster.run(0.2 * T)
    cluster.unreadable.clear()
    cluster.run(3 * T)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_disk_that_is_proven_late_shows_at_once_what_was_read_on_it(
    monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Twin: the slots were looked at long ago, and nobody notices that this counts now."""
    if not guarded:

        def see(self: Standings) -> None:
            own = self.config.paths_of(self.node)
            self._devices = frozenset(own[i].device for i in self._shared)

        monkeypatch.setattr(Standings, "_see_devices", see)
    cluster = Cluster(config(("node1", "node2", "node3"), paths=1, protection="disk"))
    reopened_while_another_falls_silent(cluster)
    assert cluster.hosts["node2"].state() is (S.STARTED if guarded else S.STOPPED)
