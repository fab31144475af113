"""What a sweep found: a row a job, and the mean and spread that UnlearnCanvas reports.

The benchmark (Zhang et al. 2024, section 4) gives UA, IRA and CRA as means over the erased styles,
and over the erased objects; here IRA and CRA are in percent of the base's, and the standard
deviation stands beside each mean.
"""

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from esdctl.errors import InputError
from esdctl.storage.workspace import Workspace
from esdctl.sweep.job_folder import folder_of
from esdctl.sweep.manifest import Job, Value

FIGURES = ("ua", "ira", "cra", "attacked_ua", "training_seconds")


@dataclass(frozen=True)
class JobResult:
    """A finished job's figures, in percent; None where they were not measured.

    Args:
        job: its name.
        concept, kind, cell: as in the manifest.
        run: the run folder, below the workspace.
        protocol, judge: of the figures.
        ua: of the erased model.
        ira, cra: in percent of the base's.
        attacked_ua: 100 minus the success rate of the strongest attack.
        attack: that attack, with its budget.
        training_seconds: without opening the model.
        delta_bytes: the size of what was erased.
        attempts: how many it took.
    """

    job: str
    concept: str
    kind: str
    cell: Mapping[str, Value]
    run: str
    protocol: str
    judge: str
    ua: float | None
    ira: float | None
    cra: float | None
    attacked_ua: float | None
    attack: str
    training_seconds: float
    delta_bytes: int
    attempts: int


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample) of n figures; the latter None for one."""

    mean: float
    deviation: float | None
    n: int

    def __str__(self) -> str:
        if self.deviation is None:
            return f"{self.mean:.1f}"
        return f"{self.mean:.1f} +- {self.deviation:.1f}"


@dataclass(frozen=True)
class Summary:
    """All jobs of one kind of concept and one cell of the grid.

    Args:
        kind: ``style``, ``object`` or ``i2p``.
        cell: what the sweep varies.
        n: jobs.
        figures: by the names of ``FIGURES``; None where no job has it.
    """

    kind: str
    cell: Mapping[str, Value]
    n: int
    figures: Mapping[str, Spread | None]

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return asdict(self)


def read_results(jobs: Sequence[Job], workspace: Workspace) -> list[JobResult]:
    """The figures of the jobs that are finished, in the manifest's order.

    Raises:
        InputError: a result is damaged.
    """
    found = []
    for job in jobs:
        folder = folder_of(job, workspace)
        if folder.is_finished:
            document = folder.read_result()
            try:
                found.append(_result(job, document))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError(
                    f"{folder.result} is damaged", "remove it; esdctl sweep run makes it anew"
                ) from error
    return found


def _result(job: Job, document: Mapping[str, Any]) -> JobResult:
    figures = (document.get("figures") or [{}])[0]
    target = (figures.get("targets") or {}).get(job.concept) or {}
    attacks = document.get("attacks") or []
    strongest = max(attacks, key=lambda each: each["asr"]["percent"], default=None)
    return JobResult(
        job=job.name,
        concept=job.concept,
        kind=job.kind,
        cell=job.cell,
        run=str(document["run"]),
        protocol=str(figures.get("protocol", "")),
        judge=str(figures.get("judge", "")),
        ua=_percent(target.get("ua")),
        ira=_percent(target.get("ira")),
        cra=_percent(target.get("cra")),
        attacked_ua=None if strongest is None else 100.0 - float(strongest["asr"]["percent"]),
        attack="" if strongest is None else f"{strongest['attack']}, {strongest['budget']}",
        training_seconds=float(document["training_seconds"]),
        delta_bytes=int(document["delta_bytes"]),
        attempts=int(document["attempts"]),
    )


def _percent(figure: Mapping[str, Any] | None) -> float | None:
    return None if figure is None else float(figure["percent"])


def summarise(results: Sequence[JobResult]) -> list[Summary]:
    """Mean and spread by kind of concept and cell, in the order in which they come.

    Trainings that differ in their seed alone are of one cell.
    """
    groups: dict[tuple[str, str], list[JobResult]] = {}
    for result in results:
        cell = sorted(_without_seed(result.cell).items())
        groups.setdefault((result.kind, str(cell)), []).append(result)
    return [
        Summary(
            group[0].kind,
            _without_seed(group[0].cell),
            len(group),
            {name: _spread([getattr(each, name) for each in group]) for name in FIGURES},
        )
        for group in groups.values()
    ]


def _without_seed(cell: Mapping[str, Value]) -> dict[str, Value]:
    return {key: value for key, value in cell.items() if key != "seed"}


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), deviation, len(known))


def as_csv(results: Sequence[JobResult]) -> str:
    """A table with a line a job; what the sweep varies has columns of its own."""
    cells = list(dict.fromkeys(key for result in results for key in result.cell))
    fixed = [name for name in JobResult.__dataclass_fields__ if name != "cell"]
    plain: dict[str, Callable[[JobResult], object]] = {
        **{name: lambda each, name=name: getattr(each, name) for name in fixed[:3]},  # type: ignore[misc]
        **{key: lambda each, key=key: each.cell.get(key) for key in cells},  # type: ignore[misc]
        **{name: lambda each, name=name: getattr(each, name) for name in fixed[3:]},  # type: ignore[misc]
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(plain)
    for result in results:
        row = [value(result) for value in plain.values()]
        writer.writerow(["" if each is None else each for each in row])
    return text.getvalue()
