"""One row a picture: what was asked for and what the classifier saw; on disk as it comes.

The files on one page:

    <folder>/<settings>/<model>.jsonl

- ``<settings>`` stands for everything but the model that decides what is seen; see
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
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from esdctl.errors import InputError
from esdctl.sampling.plan import DDIM, Scheduler
from esdctl.storage.atomic import append_jsonl, read_jsonl, write_json

Kind = Literal["style", "object"]


@dataclass(frozen=True)
class Cell:
    """One picture to be judged.

    Args:
        style, object: the names that are asked for.
        seed: of the picture's noise.
    """

    style: str
    object: str
    seed: int


@dataclass(frozen=True)
class Judgement:
    """What the classifier saw on one picture.

    Args:
        style, object, seed: the picture, as in ``Cell``.
        predicted_style, predicted_object: the names with the largest logits.
        p_style, p_object: their probabilities.
    """

    style: str
    object: str
    seed: int
    predicted_style: str
    predicted_object: str
    p_style: float
    p_object: float

    @property
    def cell(self) -> Cell:
        return Cell(self.style, self.object, self.seed)

    def asked(self, kind: Kind) -> str:
        return self.style if kind == "style" else self.object

    def predicted(self, kind: Kind) -> str:
        return self.predicted_style if kind == "style" else self.predicted_object


@dataclass(frozen=True)
class JudgingSettings:
    """Everything but the model and the cell that decides what is seen on a picture.

    Args:
        classifier: sha256 of the classifier's file.
        steps: of the scheduler.
        guidance: the guidance scale.
        image_size: side in pixels.
        scheduler: what solves the equation from noise to picture.
        stored: the form in which pictures are stored before they are judged; None for none.
    """

    classifier: str
    steps: int
    guidance: float
    image_size: int
    scheduler: Scheduler = DDIM
    stored: Literal["jpeg"] | None = None

    def document(self) -> dict[str, object]:
        """As JSON; DDIM is meant where no scheduler is named, and pictures as they were made."""
        settings: dict[str, object] = asdict(self)
        if self.scheduler == DDIM:
            del settings["scheduler"]
        if self.stored is None:
            del settings["stored"]
        return settings

    @property
    def digest(self) -> str:
        """16 digits of the settings' sha256."""
        text = json.dumps(self.document(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class JudgementFile:
    """One model's predictions under one protocol.

    Args:
        folder: where all predictions lie, ``outputs/evaluations`` in a workspace.
        settings: how the pictures are made and judged.
        model: sha256 of the model that makes them.
    """

    folder: Path
    settings: JudgingSettings
    model: str

    @property
    def path(self) -> Path:
        return self.folder / self.settings.digest / f"{self.model[:16]}.jsonl"

    def read(self) -> dict[Cell, Judgement]:
        """The predictions so far.

        Raises:
            InputError: a row is damaged, or of another model or protocol.
        """
        if not self.path.exists():
            return {}
        predictions = [
            self._prediction(row, number)
            for number, row in enumerate(read_jsonl(self.path), start=1)
        ]
        return {prediction.cell: prediction for prediction in predictions}

    def append(self, prediction: Judgement) -> None:
        """Add a row.

        Raises:
            StorageError: the disk is full or not writable.
        """
        if not self.path.exists():
            write_json(self.path.with_name("settings.json"), self.settings.document())
        append_jsonl(self.path, {**asdict(prediction), **self._origin})

    @property
    def _origin(self) -> dict[str, object]:
        return {"model": self.model, **self.settings.document()}

    def _prediction(self, row: dict[str, object], number: int) -> Judgement:
        place = f"{self.path}, line {number}"
        for key, value in self._origin.items():
            if row.pop(key, None) != value:
                raise InputError(
                    f"{place}: of another {key} than its file's name says",
                    "move the file away; evaluate makes its rows again",
                )
        try:
            return _PREDICTION.validate_python(row)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                "move the file away; evaluate makes its rows again",
            ) from error


_PREDICTION = TypeAdapter(Judgement)
