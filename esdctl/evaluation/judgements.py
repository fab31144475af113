"""One row a picture: what was asked for and what a judge saw; on disk as it comes.

The files on one page:

    <folder>/<settings>/<model>.jsonl

- ``<settings>`` stands for everything but model and prompt that decides what is seen; see
  ``JudgingSettings``. ``settings.json`` beside the rows spells it out.
- ``<model>`` is the model's sha256, cut to 16 digits. The base model is a model like any other, so
  every erasure of it finds the base's rows there.
- A row is one picture. Which pictures an evaluation wants is no part of the name: it takes the rows
  that are there and adds those that are missing.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from esdctl.errors import InputError
from esdctl.evaluation.cases import CaseKey
from esdctl.evaluation.judges.detector import Sighting
from esdctl.sampling.plan import FP32
from esdctl.sampling.schedulers import DDIM, Scheduler
from esdctl.storage.atomic import append_jsonl, read_jsonl, write_json

Kind = Literal["style", "object"]
Stored = Literal["jpeg", "given"] | None


@dataclass(frozen=True)
class Judgement:
    """What a classifier saw on one picture.

    Args:
        style, object: the names that were asked for.
        seed: of the picture's noise.
        predicted_style, predicted_object: the names with the largest logits.
        p_style, p_object: their probabilities.
        prompt: the text.
        guidance: the guidance scale; None where another program made the picture.
        width, height: pixels.
        features: the judge's, (F,), in fp16, little-endian, as base64; "" where it gives none.
    """

    style: str
    object: str
    seed: int
    predicted_style: str
    predicted_object: str
    p_style: float
    p_object: float
    prompt: str = ""
    guidance: float | None = None
    width: int = 0
    height: int = 0
    features: str = ""

    @property
    def key(self) -> CaseKey:
        return CaseKey(self.prompt, self.seed, self.guidance, self.width, self.height)

    def asked(self, kind: Kind) -> str:
        return self.style if kind == "style" else self.object

    def predicted(self, kind: Kind) -> str:
        return self.predicted_style if kind == "style" else self.predicted_object


@dataclass(frozen=True)
class Inspection:
    """What a detector saw on one picture.

    Args:
        prompt, seed, guidance, width, height: the picture, as in ``Judgement``.
        categories: of a prompt of I2P.
        seen: every detection, whatever its score.
    """

    prompt: str
    seed: int
    guidance: float | None
    width: int
    height: int
    categories: tuple[str, ...]
    seen: tuple[Sighting, ...]

    @property
    def key(self) -> CaseKey:
        return CaseKey(self.prompt, self.seed, self.guidance, self.width, self.height)


Row = TypeVar("Row", Judgement, Inspection)


@dataclass(frozen=True)
class JudgingSettings:
    """Everything but the model and the prompt that decides what is seen on a picture.

    Args:
        classifier: sha256 of the judge's files.
        steps: of the scheduler; None where another program made the pictures.
        guidance: the guidance scale; None where it is each row's own.
        image_size: side in pixels; None where it is each row's own.
        scheduler: what solves the equation from noise to picture.
        stored: the form in which pictures are stored before they are judged; None for none.
        dtype: what the U-Net computes in.
    """

    classifier: str
    steps: int | None
    guidance: float | None
    image_size: int | None
    scheduler: Scheduler = DDIM
    stored: Stored = None
    dtype: str = FP32

    def document(self) -> dict[str, object]:
        """As JSON; DDIM and fp32 are meant where none is named, and pictures as they were made."""
        settings: dict[str, object] = asdict(self)
        if self.scheduler == DDIM:
            del settings["scheduler"]
        if self.stored is None:
            del settings["stored"]
        if self.dtype == FP32:
            del settings["dtype"]
        return settings

    @property
    def digest(self) -> str:
        """16 digits of the settings' sha256."""
        return _digest(self.document())

    @property
    def sampling_digest(self) -> str:
        """16 digits that stand for how pictures are made, whoever judges them."""
        settings = self.document()
        del settings["classifier"]
        return _digest(settings)


@dataclass(frozen=True)
class JudgementFile(Generic[Row]):
    """What one judge saw on one model's pictures under one way of sampling.

    Args:
        folder: where all rows lie, ``outputs/evaluations`` in a workspace.
        settings: how the pictures are made and judged.
        model: sha256 of the model that makes them.
        kind: of the rows.
    """

    folder: Path
    settings: JudgingSettings
    model: str
    kind: type[Row]

    @property
    def path(self) -> Path:
        return self.folder / self.settings.digest / f"{self.model[:16]}.jsonl"

    def read(self) -> dict[CaseKey, Row]:
        """The rows so far.

        Raises:
            InputError: a row is damaged, or of another model or protocol.
        """
        if not self.path.exists():
            return {}
        adapter = TypeAdapter(self.kind)
        rows = [
            self._row(adapter, row, number)
            for number, row in enumerate(read_jsonl(self.path), start=1)
        ]
        return {row.key: row for row in rows}

    def append(self, row: Row) -> None:
        """Add a row.

        Raises:
            StorageError: the disk is full or not writable.
        """
        if not self.path.exists():
            write_json(self.path.with_name("settings.json"), self.settings.document())
        append_jsonl(self.path, {**asdict(row), **self._origin})

    @property
    def _origin(self) -> dict[str, object]:
        settings = self.settings.document()
        del settings["guidance"]  # the row's own stands there
        return {"model": self.model, **settings}

    def _row(self, adapter: TypeAdapter[Row], row: dict[str, object], number: int) -> Row:
        place = f"{self.path}, line {number}"
        hint = "move the file away; evaluate makes its rows again"
        for key, value in self._origin.items():
            if row.pop(key, None) != value:
                raise InputError(f"{place}: of another {key} than its file's name says", hint)
        try:
            return adapter.validate_python(row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{place}: {where}: {first['msg']}", hint) from error


def _digest(document: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
