"""The language of scenario files as the page docs/simulator.md has it, made of ``ha.simulation.plan``.

``python -m ha.simulation.language docs/simulator.md`` prints the page with its tables made anew; a test holds it so.
"""

import sys

from ha.simulation.history import NOISE
from ha.simulation.plan import SHAPES, VERBS

BEGIN, END = "<!-- language -->\n", "<!-- /language -->\n"


def table() -> str:
    """Every sentence, and what the noise is where a plan says nothing of it."""
    rows = ["| sentence (and `at SECONDS`) | `for` | what happens |", "| --- | --- | --- |"]
    for verb in VERBS.values():
        words = verb.words.replace("|", "\\|")
        rows.append(f"| `{verb.name} {words}` | {'yes' if verb.lasts else ''} | {verb.meaning} |")
    shapes = ", ".join(f"`{shape}`" for shape in SHAPES)
    noise = ", ".join(f"`{name}` {value:g}" for name, value in NOISE.items())
    return "\n".join((*rows, "", f"Shapes of scripts: {shapes}.", "", f"Noise where nothing else is said: {noise}."))


def renewed(page: str) -> str:
    """The page, with what lies between the marks made anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n\n{END}{tail}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(renewed(file.read()))
