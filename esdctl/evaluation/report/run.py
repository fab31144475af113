"""All that is on disk about one run: its record, its log, its figures, the attacks on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from esdctl.erasing.run_folder import RunFolder, open_run
from esdctl.errors import InputError
from esdctl.evaluation.known import model_digest
from esdctl.evaluation.report.documents import (
    Attack,
    Figures,
    ModelOf,
    read_attack,
    read_figures,
)
from esdctl.models.sealed import check_sealed
from esdctl.storage.atomic import read_jsonl
from esdctl.storage.workspace import Workspace


@dataclass(frozen=True)
class Concept:
    """What was erased, as the record has it."""

    name: str
    template: str
    prompts: tuple[str, ...] = ()
    erase_from: str | None = None
    retained: tuple[str, ...] = ()


@dataclass(frozen=True)
class Base:
    """What it was erased from."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Computed:
    """On what the training ran."""

    devices: tuple[str, ...] = ()
    dtype: str = ""


@dataclass(frozen=True)
class Provenance:
    """What made the run."""

    time: str = ""
    command_line: tuple[str, ...] = ()
    versions: Mapping[str, str | None] = field(default_factory=dict)
    platform: str = ""
    cpu_count: int | None = None


@dataclass(frozen=True)
class Record:
    """``run.json``."""

    settings: Mapping[str, object]
    settings_digest: str
    concept: Concept
    base: Base
    preset: str = ""
    computed: Computed = Computed()
    provenance: Provenance = Provenance()


@dataclass(frozen=True)
class LogRow:
    """One step of the training: its losses; None where the row has none."""

    step: int
    loss: float | None = None
    retain_loss: float | None = None
    ua: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class AttackFolder:
    """An attack's result, and the folder that its pictures are relative to."""

    attack: Attack
    folder: Path


@dataclass(frozen=True)
class Run:
    """One run and what was measured of it.

    Args:
        path: its folder.
        outputs: the folder of the workspace where evaluations and attacks were looked up.
        record, log: what the training wrote.
        digest: sha256 of the erased model; None where the run is not finished.
        figures: the one with most pictures first.
        attacks: the most successful first.
    """

    path: Path
    outputs: Path
    record: Record
    log: tuple[LogRow, ...]
    digest: str | None
    figures: tuple[Figures, ...]
    attacks: tuple[AttackFolder, ...]

    @property
    def name(self) -> str:
        return self.path.name


def read_run(path: Path, workspace: Workspace) -> Run:
    """Read a run and look up what was measured of its model.

    Args:
        path: a run folder.
        workspace: where evaluations and attacks lie, unless the folder is in another workspace.

    Raises:
        InputError: the folder is no run, or one of its files, figures or attacks is damaged or of
            another model.
        IntegrityError: the erased model is not what the run left.
    """
    folder, document = open_run(path)
    try:
        record = TypeAdapter(Record).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{folder.record} is damaged: {place}: {first['msg']}", "train again in a new folder"
        ) from error
    outputs = _outputs_of(path, workspace)
    digest = None
    if folder.delta.is_file():
        check_sealed(folder.delta)
        digest = model_digest(folder.delta, record.base.sha256)
    return Run(
        path=path,
        outputs=outputs,
        record=record,
        log=_read_log(folder),
        digest=digest,
        figures=() if digest is None else _figures_of(digest, outputs),
        attacks=() if digest is None else _attacks_on(digest, outputs),
    )


def _outputs_of(path: Path, workspace: Workspace) -> Path:
    """Of the workspace that a run lies in; else of the given one."""
    above = path.resolve().parent
    is_in_workspace = above.name == "runs" and above.parent.name == "outputs"
    return above.parent if is_in_workspace else workspace.outputs


def _read_log(folder: RunFolder) -> tuple[LogRow, ...]:
    rows = read_jsonl(folder.log) if folder.log.is_file() else []
    try:
        return tuple(TypeAdapter(list[LogRow]).validate_python(rows))
    except ValidationError as error:
        number, *place = error.errors(include_url=False)[0]["loc"]
        raise InputError(
            f"{folder.log}, line {int(number) + 1}: {'.'.join(map(str, place))} is damaged",
            "train again in a new folder",
        ) from error


def _figures_of(digest: str, outputs: Path) -> tuple[Figures, ...]:
    folder = outputs / "evaluations" / "figures" / digest[:16]
    found = []
    for path in sorted(folder.glob("*.json")):
        figures = read_figures(path)
        _check_model(figures.model, digest, path)
        found.append(figures)
    found.sort(key=lambda figures: figures.date, reverse=True)
    return tuple(
        sorted(found, key=lambda f: (not f.unlearning, bool(f.protocol.changes), -f.count))
    )


def _attacks_on(digest: str, outputs: Path) -> tuple[AttackFolder, ...]:
    folder = outputs / "attacks" / digest[:16]
    found = []
    for path in sorted(folder.glob("*/result.json")):
        attack = read_attack(path)
        _check_model(attack.model, digest, path)
        found.append(AttackFolder(attack, path.parent))
    return tuple(sorted(found, key=lambda each: -_success(each.attack)))


def _success(attack: Attack) -> float:
    return attack.asr.percent if attack.asr else -1.0


def _check_model(model: ModelOf, digest: str, path: Path) -> None:
    if model.digest != digest:
        raise InputError(
            f"{path} is of another model ({model.digest[:16]!r}) than its folder says",
            "move the file away, and measure again",
        )
