"""Draws the transition table: ``python -m ha.fsm.diagram`` prints docs/states.md, and a test compares the two."""

from ha.fsm.states import State
from ha.fsm.table import STATES, TABLE, Do, Row, Trigger, cells

_INTRO = """\
# States and transitions

Made from the table in `ha/fsm/table.py` by `make docs`; a test fails when the two differ.
Codes are OpenHA's. FROZEN_START has code 10 here; state files show OpenHA's digit for it, 7.

"""

_BOOT_NOTE = """
Left out of the picture, because they lead from every state: `boot` (to STOPPED, or FROZEN_STOP where it was frozen),
`force-stop` (to STOPPED) and `force-start` (to STARTED). They are in the table below.
"""


def _label(row: Row) -> str:
    told = row.trigger.value
    if row.guard is not None:
        told += f" [{row.guard.name.lower().replace('_', ' ')}]"
    if row.do is not Do.NOTHING:
        told += f" / {row.do.value}"
    return told


def mermaid() -> str:
    """The allowed transitions between different states, as a Mermaid state diagram."""
    everywhere = (Trigger.BOOT, Trigger.FORCE_STOP, Trigger.FORCE_START)
    lines = ["stateDiagram-v2", "    [*] --> FROZEN_STOP: a new service"]
    drawn: dict[tuple[State, State], list[str]] = {}
    for row in TABLE:
        if row.dest is None or row.trigger in everywhere or (row.dest is row.state and row.do is Do.NOTHING):
            continue
        labels = drawn.setdefault((row.state, row.dest), [])
        if _label(row) not in labels:
            labels.append(_label(row))
    for (source, dest), labels in drawn.items():
        lines += [f"    {source.name} --> {dest.name}: {label}" for label in labels]
    return "\n".join(lines)


def _cell(rows: tuple[Row, ...]) -> list[str]:
    told = []
    for row in rows:
        dest = row.dest.name if row.dest is not None else "refused"
        guard = row.guard.value if row.guard is not None else ""
        marks = ", ".join(sorted(m.value for m in row.marks))
        reason = row.reason.replace("{why}", "…").replace("|", "\\|")
        told.append(
            f"| {row.state.name} | {row.trigger.value} | {guard} | {dest} | {row.do.value} | {marks} | {reason} |"
        )
    return told


def document() -> str:
    """The whole page: diagram, then every cell that can occur, then the ones that cannot."""
    codes = ["| code | state |", "| --- | --- |"] + [f"| {int(s)} | {s.name} |" for s in STATES]
    head = (
        "| state | what happens | if | then | runs | changes | reason, as told |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    lines = [head]
    for rows in cells().values():
        if not rows[-1].unexpected:
            lines += _cell(rows)
    never: dict[Trigger, list[str]] = {}
    for row in TABLE:
        if row.unexpected:
            never.setdefault(row.trigger, []).append(row.state.name)
    rest = "\n".join(f"* {trigger.value}: {', '.join(states)}" for trigger, states in never.items())
    return (
        f"{_INTRO}{chr(10).join(codes)}\n\n```mermaid\n{mermaid()}\n```\n{_BOOT_NOTE}\n## Every cell\n\n"
        f"{chr(10).join(lines)}\n\n## Cells that cannot occur\n\n"
        f"Should one come all the same, it is refused, logged as an alert and counted.\n\n{rest}\n"
    )


if __name__ == "__main__":
    print(document(), end="")
