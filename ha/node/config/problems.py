"""What is wrong in a configuration, told with file and line.

Parsers go on after a problem, so that an operator sees all of them at once. This module knows no file format.
"""

from dataclasses import dataclass

MAX_PROBLEMS = 100
"""More are counted, not told: nobody reads further."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One sentence for the operator: what is wrong, and what to do."""

    file: str
    """As messages name it: ``conf/monitor``."""
    line: int
    """1, 2, …; 0 where the file as a whole is meant."""
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class ConfigError(Exception):
    """The configuration is refused whole."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class Report:
    """Collects what the parsers find."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._untold = 0

    def problem(self, file: str, line: int, text: str) -> None:
        """Something that makes the configuration unusable."""
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(file, line, text))
        else:
            self._untold += 1

    def warn(self, file: str, line: int, text: str) -> None:
        """Something that works, but probably not as it was meant."""
        if len(self._warnings) < MAX_PROBLEMS:
            self._warnings.append(Problem(file, line, text))

    @property
    def problems(self) -> tuple[Problem, ...]:
        told = _in_order(self._problems)
        if not self._untold:
            return told
        return (*told, Problem(told[-1].file, 0, f"and {self._untold} more problems; mend these first"))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return _in_order(self._warnings)


def _in_order(found: list[Problem]) -> tuple[Problem, ...]:
    """File by file as they were found, in a file by line, what concerns the whole of it last."""
    files = list(dict.fromkeys(p.file for p in found))
    return tuple(sorted(found, key=lambda p: (files.index(p.file), p.line == 0, p.line)))
