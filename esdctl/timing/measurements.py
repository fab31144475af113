"""What ``esdctl bench`` prints: the machine, a row of figures a case, and ratios to the first."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from esdctl.timing.machine import this_machine


@dataclass(frozen=True)
class Case:
    """What was measured of one case.

    Args:
        name: what it is.
        figures: by name and unit, such as ``seconds a pair``; None where it cannot be had.
    """

    name: str
    figures: dict[str, float | None]


@dataclass(frozen=True)
class Subject:
    """What is measured, so that only like is compared with like.

    Args:
        command: of ``esdctl bench``.
        model, model_digest: its name here, and the sha256 of its tensors or files.
        settings: what the figures depend on beside the machine.
    """

    command: str
    model: str
    model_digest: str
    settings: Mapping[str, object]

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        written = json.dumps(dict(self.settings), sort_keys=True)
        digest = hashlib.sha256(written.encode()).hexdigest()
        return {**asdict(self), "settings": json.loads(written), "settings_digest": digest}


@dataclass(frozen=True)
class Measurements:
    """Cases side by side; the first one is what the others are compared with.

    Args:
        title: what was measured, and how.
        cases: all with the same figures.
        compared: the figures that are costs, so that less is better.
        machine: where.
        subject: what; None where it was no command's.
    """

    title: str
    cases: tuple[Case, ...]
    compared: tuple[str, ...]
    machine: dict[str, object]
    subject: Subject | None = None

    def ratios(self) -> list[dict[str, float]]:
        """How many times less each other case costs than the first."""
        first, *others = self.cases
        return [
            {
                name: round(base / figure, 3)
                for name in self.compared
                if (base := first.figures.get(name)) and (figure := case.figures.get(name))
            }
            for case in others
        ]

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return {
            "title": self.title,
            "machine": self.machine,
            "subject": self.subject and self.subject.document(),
            "cases": [{"name": case.name, **case.figures} for case in self.cases],
            "compared_with": self.cases[0].name,
            "ratios": [
                {"name": case.name, **ratio}
                for case, ratio in zip(self.cases[1:], self.ratios(), strict=True)
            ],
        }

    def markdown(self) -> str:
        """As a table, ratios in brackets."""
        names = list(self.cases[0].figures)
        lines = [["", *names], ["---", *["---:"] * len(names)]]
        ratios: list[dict[str, float]] = [{}, *self.ratios()]
        for case, ratio in zip(self.cases, ratios, strict=True):
            cells = [_cell(case.figures[name], ratio.get(name)) for name in names]
            lines.append([case.name, *cells])
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        about = self.machine
        versions = about["versions"]
        assert isinstance(versions, dict)
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        accelerators = about["accelerators"]
        assert isinstance(accelerators, list)
        extra = "".join(f", {each['name']}" for each in accelerators)
        return (
            f"{self.title}\n\n{table}\n"
            f"In brackets: how many times less it is than in the first row.\n"
            f"{about['processor']}, {about['cores']} cores, {about['threads']} threads, "
            f"{about['instructions']}{extra}; {listed}; {about['time']}.\n"
        )


def measurements(
    title: str,
    cases: Sequence[Case],
    compared: Sequence[str],
    subject: Subject | None = None,
    device: str = "cpu",
) -> Measurements:
    """What was measured, on this machine and its device."""
    machine = {**this_machine(), "device": device}
    return Measurements(title, tuple(cases), tuple(compared), machine, subject)


def _cell(figure: float | None, ratio: float | None) -> str:
    if figure is None:
        return "-"
    shown = f"{figure:,.0f}" if figure >= 1000 else f"{figure:.4g}"
    return shown if ratio is None else f"{shown} ({ratio:.2f}x)"
