"""A check: what was measured, what is allowed, the verdict; and a report of several.

A verdict has three values: a check that could not be made is neither passed nor failed.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from esdctl.errors import CheckFailed


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        name: what was looked at, such as ``sha256``.
        measured: what was found; of a check that could not be made, why.
        allowed: what would have been right.
        passed: the verdict; None where the check could not be made.
        file: the file that it is about, relative to the folder; "" when about all of them.
    """

    name: str
    measured: str
    allowed: str
    passed: bool | None
    file: str = ""


@dataclass(frozen=True)
class Report:
    """The checks of one thing.

    Args:
        name: as the user would type it.
        path: where it lies.
        checks: in the order in which they were made.
        damaged: files that fetching them again would mend, relative to ``path``.
    """

    name: str
    path: Path
    checks: tuple[Check, ...]
    damaged: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed; what could not be checked is in ``unchecked``."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def unchecked(self) -> tuple[Check, ...]:
        """What could not be checked."""
        return tuple(check for check in self.checks if check.passed is None)

    def document(self) -> dict[str, object]:
        """The report as a JSON document."""
        return {
            "name": self.name,
            "path": str(self.path),
            "passed": self.passed,
            "unchecked": len(self.unchecked),
            "damaged": list(self.damaged),
            "checks": [asdict(check) for check in self.checks],
        }


def require_passed(reports: Sequence[Report]) -> None:
    """Do nothing when no check failed.

    Raises:
        CheckFailed: one did; the first failure is named, the others are counted.
    """
    failures = [(report, check) for report in reports for check in report.failures]
    if not failures:
        return
    report, check = failures[0]
    place = report.path / check.file if check.file else report.path
    others = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    can_be_mended = any(report.damaged for report in reports)
    raise CheckFailed(
        f"{place}: {check.name} is {check.measured}, not {check.allowed}{others}",
        "esdctl verify --repair fetches again what is damaged" if can_be_mended else "",
    )
