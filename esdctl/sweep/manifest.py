"""A sweep's manifest: a job a line, complete in itself, named by the digest of what it says.

    {"job": "5d0c...", "base": {...}, "concept": "Mosaic", ..., "evaluate": {...}, "attack": {...}}

A manifest is never changed: a line that was edited no longer has its name and is refused. A longer
one may hold the same jobs again; what they gave is found by their names.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from esdctl.errors import InputError, UsageError
from esdctl.storage.atomic import write_text

FORMAT = 1
Value = str | int | float | bool | None | list[str]


@dataclass(frozen=True)
class Base:
    """What is erased from.

    Args:
        name: as ``--model`` takes it.
        sha256: of its weights.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Evaluation:
    """How an erasure is measured.

    Args:
        protocol: its name or file; None takes the one that suits the judge.
        seeds: in place of the protocol's, such as ``1,2,5-8``.
        sha256: of the protocol's file; None where it is a name.
    """

    protocol: str | None = None
    seeds: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Attacks:
    """How an erasure is attacked.

    Args:
        methods: as ``esdctl attack --method`` takes them.
        budget: quick, paper, or a file.
        n: cases; None for the budget's own.
        sha256: of the budget's file; None where it is a name.
    """

    methods: str
    budget: str = "quick"
    n: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Job:
    """An erasure, and what is measured of it.

    Args:
        base: the model.
        concept: what is erased.
        kind: ``style``, ``object`` or ``i2p``.
        settings: of the training, where they differ from the preset.
        preset: the preset.
        settings_digest: what a training must come to before it starts.
        cell: those of the settings that the sweep varies.
        evaluate: None measures nothing.
        attack: None attacks nothing.
    """

    base: Base
    concept: str
    kind: str
    settings: dict[str, Value]
    preset: str
    settings_digest: str
    cell: dict[str, Value]
    evaluate: Evaluation | None
    attack: Attacks | None

    @property
    def name(self) -> str:
        """16 digits that stand for all that decides its result."""
        content = {"format": FORMAT, **asdict(self)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """For people: the concept and what the sweep varies."""
        return ", ".join([self.concept, *(f"{key} {value}" for key, value in self.cell.items())])


_LINE = TypeAdapter(Job)


def write_manifest(path: Path, jobs: Iterable[Job]) -> int:
    """Write a manifest, whole or not at all.

    Returns:
        How many jobs it holds.

    Raises:
        UsageError: there is another manifest at ``path``.
        StorageError: the disk is full or not writable.
    """
    lines = [json.dumps({"job": job.name, **asdict(job)}, ensure_ascii=False) for job in jobs]
    text = "".join(f"{line}\n" for line in lines)
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise UsageError(
            f"{path} is there already, and a manifest is never changed",
            "choose another --output; jobs that both hold are not done again",
        )
    write_text(path, text)
    return len(lines)


def read_manifest(path: Path) -> tuple[Job, ...]:
    """The jobs of a manifest, each once.

    Raises:
        InputError: there is no such file, a line is damaged, or was changed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the manifest {path}", "esdctl sweep plan writes one"
        ) from error
    jobs: dict[str, Job] = {}
    for number, line in enumerate(lines, start=1):
        job = _read_line(path, number, line)
        jobs[job.name] = job
    if not jobs:
        raise InputError(f"the manifest {path} holds no job", "esdctl sweep plan writes one")
    return tuple(jobs.values())


def _read_line(path: Path, number: int, line: str) -> Job:
    place = f"{path}, line {number}"
    try:
        document = json.loads(line)
        name = document.pop("job")
        job = _LINE.validate_python(document)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise InputError(f"{place}: no job of a sweep", "esdctl sweep plan writes them") from error
    if job.name != name:
        raise InputError(
            f"{place}: the job {name} was changed, or is of another version",
            "plan the sweep anew; jobs that stay the same are not done again",
        )
    return job
