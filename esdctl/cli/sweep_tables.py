"""A sweep's tables, on stderr."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from esdctl.cli.terminal import show_table

if TYPE_CHECKING:
    from esdctl.sweep.progress import Progress
    from esdctl.sweep.results import JobResult, Summary


def show_progress(progress: "Progress") -> None:
    counts = progress.counts
    left = progress.seconds_left
    rows: list[tuple[str, str]] = [(state, str(count)) for state, count in counts.items()]
    if progress.seconds_a_job is not None:
        rows.append(("seconds a job", f"{progress.seconds_a_job:.1f}"))
    if left:
        rows.append(("time left", f"{left / 60:.0f} min"))
    show_table(f"{len(progress.jobs)} jobs", ("state", "jobs"), rows)


def show_groups(groups: "Sequence[Summary]", found: "Sequence[JobResult]") -> None:
    protocols = ", ".join(dict.fromkeys(each.protocol for each in found if each.protocol))
    columns = ("concepts", "varied", "jobs", "UA", "IRA", "CRA", "attacked UA", "seconds")
    show_table(
        f"Erasures ({protocols or 'not evaluated'}; means, with the standard deviation; IRA and "
        "CRA in percent of the base's)",
        columns,
        [_cells(group) for group in groups],
        is_text=True,
    )


def _cells(group: "Summary") -> tuple[str, ...]:
    varied = ", ".join(f"{key} {value}" for key, value in group.cell.items())
    figures = ("-" if each is None else str(each) for each in group.figures.values())
    return (f"{group.kind}s", varied or "-", str(group.n), *figures)


def plain_cells(group: "Summary") -> tuple[str, ...]:
    varied = ",".join(f"{key}={value}" for key, value in group.cell.items())
    figures = ("" if each is None else f"{each.mean:.2f}" for each in group.figures.values())
    return (group.kind, varied, str(group.n), *figures)
