"""A model and cells -> pictures -> predictions on disk; only what is not there yet is made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from esdctl.errors import Interrupted
from esdctl.evaluation.judgements import Cell, Judgement, JudgementFile, JudgingSettings
from esdctl.evaluation.judges.judge import Classifier, Classify
from esdctl.models.memory import memory_errors
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.progress import Reporter
from esdctl.sampling.cells import CELLS_A_SEED, CellSettings, cell_picture, file_name
from esdctl.sampling.pictures import make_pictures
from esdctl.sampling.plan import BatchSize, Picture, SamplePlan
from esdctl.sampling.sample import Pixels, sample
from esdctl.storage.lock import target_lock

READ_AT_ONCE = 16  # stored pictures


@dataclass(frozen=True)
class Judging:
    """Lets models sample, and notes what the classifier sees.

    Args:
        classifier: who judges.
        settings: how pictures are made and judged.
        folder: where predictions are kept and looked up.
        device: where to sample and classify.
        batch_size: at most so many pictures at once; changes no picture.
        reporter: told of each batch, and of predictions that are there already.
    """

    classifier: Classifier
    settings: JudgingSettings
    folder: Path
    device: torch.device
    batch_size: BatchSize
    reporter: Reporter

    def judge(
        self, pipeline: Pipeline, cells: Sequence[Cell], task: str, keep: Path | None = None
    ) -> tuple[JudgementFile, list[Judgement]]:
        """Predictions for one model's cells.

        Args:
            pipeline: the model.
            cells: the pictures, all different.
            task: names the work to the user.
            keep: a folder for the pictures; what is judged is then read from it. None keeps none.

        Returns:
            The model's file, and the predictions in the order of the cells.

        Raises:
            InputError: a file is damaged, or the model gives numbers that are not finite.
            UsageError: the folder holds other pictures.
            DeviceError: the memory does not suffice.
            Interrupted: the user pressed Ctrl-C; the predictions so far stay.
            StorageError: the disk is full or not writable.
        """
        file = JudgementFile(self.folder, self.settings, pipeline.digest())
        if keep is not None:
            self._store_pictures(pipeline, cells, keep)
        with target_lock(file.path, self.reporter):
            known = file.read()
            missing = [cell for cell in cells if cell not in known]
            done = len(cells) - len(missing)
            if done:
                self.reporter.notice(
                    f"{task}: {done} of {len(cells)} pictures were judged before, in {file.path}"
                )
            if missing:
                self.reporter.started(task, len(cells), "pictures", done)
                try:
                    for prediction in self._judgements(pipeline, missing, keep):
                        file.append(prediction)
                        known[prediction.cell] = prediction
                        done += 1
                        self.reporter.advanced(task, done)
                except KeyboardInterrupt:
                    raise Interrupted(
                        f"interrupted; {done} of {len(cells)} predictions are in {file.path}",
                        "run the same command again to make the others",
                    ) from None
                self.reporter.finished(task)
        return file, [known[cell] for cell in cells]

    def _judgements(
        self, pipeline: Pipeline, cells: Sequence[Cell], keep: Path | None
    ) -> Iterator[Judgement]:
        if keep is None:
            batches = self._sampled(load(pipeline, self.device), cells)
        else:
            batches = _stored(cells, keep)
        with memory_errors(self.device, _advice):
            classify = self.classifier.load(self.device, self.reporter)
        for batch, pixels in batches:
            with memory_errors(self.device, _advice):
                rows = classified(classify, batch, pixels)
            yield from rows

    def _store_pictures(self, pipeline: Pipeline, cells: Sequence[Cell], folder: Path) -> None:
        pictures = tuple(picture_of(cell, self.settings, _file_of(cell)) for cell in cells)
        plan = SamplePlan(pipeline.name, pipeline.identity(), pictures)
        make_pictures(
            plan,
            folder,
            lambda: load(pipeline, self.device),
            self.batch_size,
            self.reporter,
            show=lambda row: None,
        )

    def _sampled(
        self, model: StableDiffusion, cells: Sequence[Cell]
    ) -> Iterator[tuple[list[Cell], list[Pixels]]]:
        """Cells and their pictures, (H, W, 3) each, a batch at a time."""
        named = {str(index): cell for index, cell in enumerate(cells)}
        pictures = [picture_of(cell, self.settings, name) for name, cell in named.items()]
        for batch in sample(model, pictures, self.batch_size):
            yield [named[picture.file] for picture, _ in batch], [pixels for _, pixels in batch]


def _advice() -> list[str]:
    """Where the classifier does not fit beside the model."""
    return ["use a smaller --batch-size", "use --device cpu"]


def picture_of(cell: Cell, settings: JudgingSettings, file: str) -> Picture:
    """The picture of a cell, by the name ``file``."""
    made = CellSettings(settings.steps, settings.guidance, settings.image_size, settings.scheduler)
    return cell_picture(cell.style, cell.object, cell.seed, made, file)


def _file_of(cell: Cell) -> str:
    return file_name(cell.style, cell.object, cell.seed // CELLS_A_SEED)


def _stored(cells: Sequence[Cell], folder: Path) -> Iterator[tuple[list[Cell], list[Pixels]]]:
    """Cells and their pictures as they are on disk, a few at a time."""
    for start in range(0, len(cells), READ_AT_ONCE):
        batch = list(cells[start : start + READ_AT_ONCE])
        yield batch, [_read(folder / _file_of(cell)) for cell in batch]


def _read(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def classified(
    classify: Classify, cells: Sequence[Cell], pixels: Sequence[Pixels]
) -> list[Judgement]:
    """What the classifier sees on the cells' pictures, (H, W, 3) each."""
    verdicts = classify(np.stack(pixels))
    return [
        Judgement(
            style=cell.style,
            object=cell.object,
            seed=cell.seed,
            predicted_style=verdict.style,
            predicted_object=verdict.object,
            p_style=verdict.p_style,
            p_object=verdict.p_object,
        )
        for cell, verdict in zip(cells, verdicts, strict=True)
    ]
