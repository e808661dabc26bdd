"""The figures of a running node, for ``ezha metrics``: names with labels, as Prometheus writes them."""

from ha.heartbeats.keys import Mode
from ha.node.running import Node


def _label(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'").replace("\n", " ")


def counters(node: Node) -> dict[str, float]:
    """What only grows, since nmond was started (a restart by exec does not begin anew)."""
    driver = node.driver
    told: dict[str, float] = {
        "heartbeats_made": node.messages_sent,
        "heartbeats_not_made": node.encode_failures,
        "engine_events": driver.handled,
        "messages_outrun": driver.skipped,
        "persist_failures": driver.persist_failures,
        "log_lines_dropped": node.log.dropped,
        "history_or_state_files_failed": node.outbox.lost,
        "notify_run": node.notifier.told,
        "notify_failed": node.notifier.failed,
        "notify_dropped": node.notifier.dropped,
        "fencings_done": node.outside.fencer.done,
        "fencings_failed": node.outside.fencer.failed,
        "etcd_process_restarts": node.outside.arbiter.restarts,
    }
    for name, count in sorted(driver.engine.counters.items()):
        told[f"engine_{name}"] = count
    for outcome, count in sorted(node.runner.outcomes.items()):
        told[f'scripts_ended{{outcome="{_label(outcome)}"}}'] = count
    for worker in node.workers.all.values():
        path = f'node="{_label(worker.line.node)}",path="{_label(worker.line.label)}"'
        if worker.sender:
            told[f"path_handed{{{path}}}"] = worker.handed
            told[f"path_sent{{{path}}}"] = worker.sent
            told[f"path_dropped{{{path}}}"] = worker.dropped
        else:
            told[f"path_received{{{path}}}"] = worker.received
        told[f"path_worker_restarts{{{path}}}"] = worker.restarts
        for why, count in sorted(worker.refused.items()):
            told[f'path_refused{{{path},why="{_label(why)}"}}'] = count
    return told


def gauges(node: Node) -> dict[str, float]:
    """What is so at present. Times in seconds."""
    driver = node.driver
    now = node.loop.clock()
    told: dict[str, float] = {
        "services": len(driver.engine.services),
        "scripts_running": len(node.runner.jobs),
        "scripts_waiting": node.runner.waiting,
        "notify_waiting": node.notifier.waiting,
        "told_later_waiting": node.outbox.waiting,
        "uptime_seconds": round(now - driver.engine.started_at, 3),
        "decision_late_max_seconds": round(driver.late_ever, 6),
        "decision_late_recent_max_seconds": round(driver.take_late(), 6),
        "guard_promise": int(node.guarding.promise),
        "guardian_restarts": node.guarding.restarts,
        "persist_trouble": 1.0 if driver.trouble else 0.0,
        "etcd_trouble": 1.0 if node.outside.arbiter.trouble else 0.0,
        "handover_silence_seconds": round(node.handover_silence, 6),
    }
    mode = node.configuration.keys.mode
    for each in Mode:
        told[f'authentication{{mode="{each.value}"}}'] = 1.0 if each is mode else 0.0
    for path in node.workers.describe(driver.engine.path_state):
        labels = f'node="{_label(path["node"])}",path="{_label(path["label"])}"'
        told[f"path_up{{{labels}}}"] = 1.0 if path["up"] else 0.0
    for peer in driver.engine.peers.values():
        told[f'peer_heard{{node="{_label(peer.name)}"}}'] = 1.0 if peer.living else 0.0
    return told
