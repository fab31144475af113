"""Several erasures side by side: their figures under one protocol, and what differs by chance.

Only figures under one protocol are put side by side: the same name, version, content, changes and
judge. Differences to the first run are paired, picture by picture on the same noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from esdctl.errors import CheckFailed, InputError, UsageError
from esdctl.evaluation.judgements import Judgement, Kind
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.evaluation.metrics.intervals import Percent, paired_difference
from esdctl.evaluation.report.documents import Attack, Figures
from esdctl.evaluation.report.run import Run
from esdctl.storage.atomic import read_jsonl

DEMANDS = ("UA", "IRA", "CRA", "ATTACKED")


@dataclass(frozen=True)
class Compared:
    """One erased concept of one run.

    Args:
        run: its name.
        concept: the target.
        ua: of the erased model.
        ira, cra: in percent of the base's.
        attacked_ua: UA under the strongest attack: 100 minus its success rate; None where none was
            tried.
        attack: that attack, with its budget.
        ira_difference, cra_difference: accuracy minus the first run's, in percentage points, on the
            pictures that ask for no target of either; None of the first run.
    """

    run: str
    concept: str
    ua: Percent | None
    ira: Percent | None
    cra: Percent | None
    attacked_ua: Percent | None
    attack: str
    ira_difference: Percent | None = None
    cra_difference: Percent | None = None

    def figures(self) -> dict[str, Percent | None]:
        """By the names of ``DEMANDS``."""
        values = (self.ua, self.ira, self.cra, self.attacked_ua)
        return dict(zip(DEMANDS, values, strict=True))


@dataclass(frozen=True)
class Comparison:
    """What was compared, and under which protocol."""

    protocol: str
    judge: str
    rows: tuple[Compared, ...]

    def document(self) -> dict[str, object]:
        """As one JSON document."""
        return asdict(self)


def compare_runs(runs: Sequence[Run], protocol: str | None = None) -> Comparison:
    """Put runs side by side.

    Args:
        runs: as ``read_run`` gives them; the first is what others are compared with.
        protocol: by name; None takes the first of the first run that all have.

    Raises:
        InputError: the runs have no protocol in common, or a file of rows is missing or damaged.
    """
    chosen = _common(runs, protocol)
    first = _rows(chosen[0])
    rows: list[Compared] = []
    for index, (run, figures) in enumerate(zip(runs, chosen, strict=True)):
        judged = first if index == 0 else _rows(figures)
        for target in figures.targets:
            plain = _compared(run, figures, target.name)
            if index:
                plain = _with_differences(plain, target.kind, figures, judged, chosen[0], first)
            rows.append(plain)
    label = _label(chosen[0])
    return Comparison(label, chosen[0].judge, tuple(rows))


def parse_demands(text: str) -> dict[str, float]:
    """Read ``UA=95,IRA=80``: the least percentages, IRA and CRA in percent of the base's.

    Raises:
        UsageError: a name is none of UA, IRA, CRA and ATTACKED, or a value is no number.
    """
    demands = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            least = float(value)
        except ValueError:
            least = -1.0
        if name.strip().upper() not in DEMANDS or not 0 <= least < float("inf"):
            raise UsageError(
                f"--fail-under: {part.strip()!r} demands nothing",
                f"write UA=95,IRA=80, with some of {', '.join(DEMANDS)}",
            )
        demands[name.strip().upper()] = least
    return demands


def check_demands(comparison: Comparison, demands: Mapping[str, float]) -> None:
    """Hold each run against what is demanded.

    Raises:
        CheckFailed: a figure is below, or was not measured.
    """
    missed = []
    for row in comparison.rows:
        for name, least in demands.items():
            figure = row.figures()[name]
            if figure is None or figure.percent < least:
                measured = "unknown" if figure is None else f"{figure.percent:.1f}"
                missed.append(f"{name} of {row.run} is {measured}, below {least:g}")
    if missed:
        raise CheckFailed("; ".join(missed), "not every run reaches what was demanded")


def _common(runs: Sequence[Run], protocol: str | None) -> list[Figures]:
    """Each run's figures under the protocol that all have."""
    by_run = [
        {_identity(each): each for each in reversed(run.figures) if each.unlearning} for run in runs
    ]
    for figures in runs[0].figures:
        key = _identity(figures)
        named = protocol is None or figures.protocol.name == protocol
        if named and figures.unlearning and all(key in known for known in by_run):
            return [known[key] for known in by_run]
    what = f"the protocol {protocol}" if protocol else "a protocol"
    known = "; ".join(
        f"{run.name}: {', '.join(_label(each) for each in run.figures) or 'nothing'}"
        for run in runs
    )
    raise InputError(
        f"the runs do not have {what} in common ({known})",
        "esdctl evaluate --model RUN measures each; give all the same options",
    )


def _identity(figures: Figures) -> tuple[object, ...]:
    used = figures.protocol
    changes = tuple(sorted((key, str(value)) for key, value in used.changes.items()))
    return used.name, used.version, used.digest, changes, figures.judge_digest, figures.sampling


def _label(figures: Figures) -> str:
    used = figures.protocol
    changes = "; ".join(f"{key} {value}" for key, value in used.changes.items())
    named = f"{used.name} v{used.version}"
    return f"{named}, changed: {changes}" if changes else named


def _compared(run: Run, figures: Figures, target: str) -> Compared:
    unlearning, retention = figures.unlearning[target], figures.percent_of_base.get(target)
    attacks = [each.attack for each in run.attacks if each.attack.concept.name == target]
    strongest = max(attacks, key=_success, default=None)
    asr = strongest.asr if strongest else None
    return Compared(
        run=run.name,
        concept=target,
        ua=unlearning.ua,
        ira=retention.ira if retention else None,
        cra=retention.cra if retention else None,
        attacked_ua=None
        if asr is None
        else Percent(100 - asr.percent, 100 - asr.high, 100 - asr.low, asr.n),
        attack=f"{strongest.attack}, {strongest.budget}" if strongest else "",
    )


def _success(attack: Attack) -> float:
    return attack.asr.percent if attack.asr else -1.0


def _with_differences(
    plain: Compared,
    kind: str,
    figures: Figures,
    rows: Mapping[object, Judgement],
    first: Figures,
    first_rows: Mapping[object, Judgement],
) -> Compared:
    targets = [
        ErasedConcept("style" if target.kind == "style" else "object", target.name)
        for target in (*figures.targets, *first.targets)
    ]
    keys = [
        key
        for key, row in rows.items()
        if key in first_rows and all(row.asked(t.kind) != t.name for t in targets)
    ]

    def difference(is_style: bool) -> Percent | None:
        domain: Kind = "style" if is_style else "object"
        mine, its = (
            [of[key].predicted(domain) == of[key].asked(domain) for key in keys]
            for of in (rows, first_rows)
        )
        return paired_difference(mine, its)

    return replace(
        plain,
        ira_difference=difference(kind == "style"),
        cra_difference=difference(kind != "style"),
    )


def _rows(figures: Figures) -> dict[object, Judgement]:
    """The rows behind figures, by picture."""
    if figures.model.rows is None or not Path(figures.model.rows).is_file():
        raise InputError(
            f"the rows of {figures.model.name} are not here: {figures.model.rows}",
            "run compare where the figures were made, or evaluate again",
        )
    names = set(Judgement.__dataclass_fields__)
    try:
        rows = TypeAdapter(list[Judgement]).validate_python(
            [
                {key: value for key, value in row.items() if key in names}
                for row in read_jsonl(Path(figures.model.rows))
            ]
        )
    except ValidationError as error:
        raise InputError(f"{figures.model.rows} is damaged", "evaluate again") from error
    return {row.key: row for row in rows}
