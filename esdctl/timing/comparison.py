"""``bench compare``: two documents of ``esdctl bench --json`` side by side, if they are alike."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from esdctl.errors import InputError, UsageError


class Machine(BaseModel):
    """What a comparison shows of a machine."""

    model_config = ConfigDict(extra="ignore")

    processor: str
    threads: int
    device: str = ""
    accelerators: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    time: str = ""

    @property
    def name(self) -> str:
        """Where it was measured: the cards, or the processor with its threads."""
        cards = ", ".join(str(card.get("name", "?")) for card in self.accelerators)
        processor = f"{self.processor}, {self.threads} threads"
        return processor if self.device.startswith("cpu") or not cards else cards


class Subject(BaseModel):
    """What was measured; two documents can be compared where all of it is equal."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    command: str
    model: str
    model_digest: str
    settings_digest: str
    settings: dict[str, Any]


class BenchDocument(BaseModel):
    """A file that ``esdctl bench train|sample|load --json`` printed."""

    model_config = ConfigDict(extra="ignore")

    title: str
    machine: Machine
    subject: Subject
    cases: list[dict[str, Any]]

    def case(self, name: str) -> dict[str, float]:
        """A case's figures that are there; empty where the case is not."""
        found = next((case for case in self.cases if case.get("name") == name), {})
        return {key: value for key, value in found.items() if isinstance(value, int | float)}


@dataclass(frozen=True)
class Compared:
    """One figure of one case in both documents.

    Args:
        case, figure: their names.
        first, second: the values.
    """

    case: str
    figure: str
    first: float
    second: float

    @property
    def ratio(self) -> float | None:
        """The second by the first; None where that is 0."""
        return self.second / self.first if self.first else None


@dataclass(frozen=True)
class Comparison:
    """Two documents.

    Args:
        first, second: as they were read.
        rows: each figure that both have.
    """

    first: BenchDocument
    second: BenchDocument
    rows: tuple[Compared, ...]

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return {
            "subject": self.first.subject.model_dump(),
            "machines": [self.first.machine.model_dump(), self.second.machine.model_dump()],
            "figures": [
                {
                    "case": row.case,
                    "figure": row.figure,
                    "first": row.first,
                    "second": row.second,
                    "ratio": None if row.ratio is None else round(row.ratio, 4),
                }
                for row in self.rows
            ],
        }

    def markdown(self) -> str:
        """As a table."""
        machines = (self.first.machine, self.second.machine)
        lines = ["| case | figure | first | second | second / first |", "|---|---|---:|---:|---:|"]
        for row in self.rows:
            ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
            lines.append(
                f"| {row.case} | {row.figure} | {row.first:.4g} | {row.second:.4g} | {ratio} |"
            )
        named = zip(("first", "second"), machines, strict=True)
        told = [
            f"{which}: {machine.name}; "
            f"{', '.join(f'{name} {version}' for name, version in machine.versions.items())}; "
            f"{machine.time}"
            for which, machine in named
        ]
        title = f"{self.first.title}; {self.first.subject.model}"
        return "\n".join([title, "", *lines, "", *told]) + "\n"


def compare_files(first: Path, second: Path) -> Comparison:
    """Read two documents and hold them against each other.

    Raises:
        InputError: a file is missing, or is none of ``esdctl bench``'s.
        UsageError: they measured unlike things; says which.
    """
    one, other = read_document(first), read_document(second)
    _refuse_unlike(one.subject, other.subject)
    names = [str(case.get("name")) for case in one.cases]
    rows = tuple(
        Compared(name, figure, value, other.case(name)[figure])
        for name in names
        for figure, value in one.case(name).items()
        if figure in other.case(name)
    )
    if not rows:
        raise UsageError("the two files have no case in common", "measure the same cases")
    return Comparison(one, other, rows)


def read_document(path: Path) -> BenchDocument:
    """A file of ``esdctl bench --json``.

    Raises:
        InputError: it is missing, or something else.
    """
    try:
        return BenchDocument.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the path") from error
    except (ValueError, ValidationError) as error:
        raise InputError(
            f"{path} is no document of esdctl bench",
            "make one: esdctl bench train --json > FILE",
        ) from error


def _refuse_unlike(first: Subject, second: Subject) -> None:
    if first.command != second.command:
        raise UsageError(
            f"one file is of bench {first.command}, the other of bench {second.command}",
            "compare files of the same command",
        )
    if first.model_digest != second.model_digest:
        raise UsageError(
            f"the models differ: {first.model} ({first.model_digest[:8]}) and {second.model} "
            f"({second.model_digest[:8]})",
            "measure the same model",
        )
    if first.settings_digest != second.settings_digest:
        keys = sorted({*first.settings, *second.settings})
        differing = [
            f"{key} ({first.settings.get(key)} and {second.settings.get(key)})"
            for key in keys
            if first.settings.get(key) != second.settings.get(key)
        ]
        raise UsageError(
            f"the settings differ: {', '.join(differing)}", "measure the same settings"
        )
