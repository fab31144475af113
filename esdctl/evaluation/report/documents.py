"""What evaluations and attacks leave on disk, as the report reads it: checked, then frozen.

A key with a default may be absent: evaluations without a base, or of detections alone, have no more
to say. Any other key must be there, and a document of another format is refused.
"""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, FiniteFloat, TypeAdapter, ValidationError

from esdctl.errors import InputError
from esdctl.evaluation.metrics.intervals import Percent

FORMAT = 1
LARGEST = 64 * 1024**2  # bytes; a document of every prompt's figures has some hundred kilobytes


def _check_interval(percent: Percent) -> Percent:
    numbers = (percent.low, percent.percent, percent.high)
    if not all(map(math.isfinite, numbers)) or list(numbers) != sorted(numbers) or percent.n < 0:
        raise ValueError("low, percent and high are no interval around the estimate")
    return percent


def _command_line(value: object) -> object:
    """A command line as a shell takes it, wherever the program lay."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError:  # an open quote
        return value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return value
    return shlex.join(["esdctl", *words[1:]]) if words else ""


Interval = Annotated[Percent, AfterValidator(_check_interval)]
Command = Annotated[str, BeforeValidator(_command_line)]
Confusion = dict[str, dict[str, int]]  # asked for -> seen -> pictures


@dataclass(frozen=True)
class ProtocolOf:
    """Under which protocol something was measured."""

    name: str
    version: int | str
    digest: str = ""
    source: str = ""
    departs: str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """``pocket v1``, with a star where a setting was changed."""
        return f"{self.name} v{self.version}{'*' if self.changes else ''}"


@dataclass(frozen=True)
class ModelOf:
    """A model that was measured; ``rows`` and ``pictures`` are paths."""

    name: str
    digest: str
    rows: str | None = None
    pictures: str | None = None


@dataclass(frozen=True)
class ConceptOf:
    """A concept by kind (``style``, ``object``, or another) and name."""

    kind: str
    name: str


@dataclass(frozen=True)
class Sampler:
    """How the pictures were made; None where each row has its own."""

    steps: int | None = None
    guidance: FiniteFloat | None = None
    image_size: int | None = None
    scheduler: str | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class UnlearningOf:
    """UA, IRA and CRA of one target; None where no picture tells."""

    ua: Interval | None = None
    ira: Interval | None = None
    cra: Interval | None = None
    cra_with_target: Interval | None = None


@dataclass(frozen=True)
class RetentionOf:
    """IRA and CRA in percent of the base's."""

    ira: Interval | None = None
    cra: Interval | None = None
    cra_with_target: Interval | None = None


@dataclass(frozen=True)
class AccuracyOf:
    """How often the judge sees what was asked for."""

    style: Interval | None = None
    object: Interval | None = None
    by_style: Mapping[str, Interval | None] = field(default_factory=dict)
    by_object: Mapping[str, Interval | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Moved:
    """What the erasure did to another concept.

    Args:
        kind, name: the concept.
        accuracy, base_accuracy: how often it is still seen, and how often in the base's pictures.
        moved: distance of the judge's features between the two models' pictures on equal noise.
        nearness: of the concept to the target, larger is nearer.
    """

    kind: str
    name: str
    accuracy: Interval | None = None
    base_accuracy: Interval | None = None
    moved: FiniteFloat | None = None
    nearness: FiniteFloat | None = None


@dataclass(frozen=True)
class Detected:
    """What a detector found: pictures that it flags, and detections in them."""

    judge: str
    protocol: str
    pictures: Interval | None
    detections: int
    labels: tuple[str, ...] = ()
    threshold: FiniteFloat | None = None
    by_label: Mapping[str, int] = field(default_factory=dict)
    base_pictures: Interval | None = None
    base_detections: int | None = None


@dataclass(frozen=True)
class Fidelity:
    """A figure of quality, with what it depends on."""

    name: str
    value: FiniteFloat
    encoder: str = ""
    n: int | None = None
    size: str | int | None = None
    resize: str | None = None


@dataclass(frozen=True)
class Figures:
    """The figures of one model under one protocol."""

    format: Literal[1]
    protocol: ProtocolOf
    judge: str
    model: ModelOf
    targets: tuple[ConceptOf, ...]
    sampling: Sampler
    count: int
    seeds: tuple[int, ...] = ()
    judge_digest: str | None = None
    base: ModelOf | None = None
    unlearning: Mapping[str, UnlearningOf] = field(default_factory=dict)
    base_unlearning: Mapping[str, UnlearningOf] | None = None
    percent_of_base: Mapping[str, RetentionOf] = field(default_factory=dict)
    accuracy: AccuracyOf | None = None
    base_accuracy: AccuracyOf | None = None
    confusion: Mapping[str, Confusion] = field(default_factory=dict)
    collateral: tuple[Moved, ...] = ()
    by_group: Mapping[str, Mapping[str, RetentionOf]] = field(default_factory=dict)
    detections: tuple[Detected, ...] = ()
    fidelity: tuple[Fidelity, ...] = ()
    version: str | None = None
    date: str = ""
    command: Command = ""


@dataclass(frozen=True)
class Found:
    """What brought the concept back once.

    Args:
        picture: its file, relative to the result's folder; None where none is kept.
        prompt, seed: what made it.
        score: the judge's.
        what: in words, such as ``a learned token``.
    """

    picture: str | None = None
    prompt: str | None = None
    seed: int | None = None
    score: FiniteFloat | None = None
    what: str = ""


@dataclass(frozen=True)
class Attack:
    """The result of one attack with one budget.

    Args:
        n: pictures that were tried.
        before: how many show the concept with the plain prompt, without an attack.
        new_successes: how many more show it after the attack.
        asr: (before + new_successes) / n.
    """

    format: Literal[1]
    attack: str
    budget: str
    model: ModelOf
    concept: ConceptOf
    judge: str
    n: int
    before: int
    new_successes: int
    asr: Interval | None
    source: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    base_digest: str = ""
    judge_digest: str | None = None
    before_rate: Interval | None = None
    found: tuple[Found, ...] = ()
    seconds: FiniteFloat | None = None
    version: str | None = None
    date: str = ""
    command: Command = ""


Document = TypeVar("Document", Figures, Attack)


def read_figures(path: Path) -> Figures:
    """A figures document.

    Raises:
        InputError: it is missing, damaged, or of another format.
    """
    return _read(path, TypeAdapter(Figures), "esdctl evaluate")


def read_attack(path: Path) -> Attack:
    """An attack's result.

    Raises:
        InputError: it is missing, damaged, or of another format.
    """
    return _read(path, TypeAdapter(Attack), "esdctl attack")


def _read(path: Path, adapter: TypeAdapter[Document], maker: str) -> Document:
    again = f"move the file away, or make it again: {maker}"
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is too large for a document of {maker}", again)
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", again) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it is not JSON ({error})", again) from error
    if not isinstance(document, dict) or "format" not in document:
        raise InputError(f"{path} is no document of {maker}: it names no format", again)
    if document["format"] != FORMAT:
        raise InputError(
            f"{path} has format {document['format']!r:.40}, and this esdctl reads {FORMAT}", again
        )
    try:
        return adapter.validate_python(document)
    except (ValidationError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {_first_problem(error)}", again) from error


def _first_problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "it is nested too deeply"
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
