"""Cases -> pictures -> rows on disk, by one judge or several; only what is missing is made."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol

import numpy as np
import torch

from esdctl.errors import InputError, Interrupted
from esdctl.evaluation.cases import Case, CaseKey
from esdctl.evaluation.judgements import (
    Inspection,
    Judgement,
    JudgementFile,
    JudgingSettings,
    Row,
)
from esdctl.evaluation.judges.detector import Detector
from esdctl.evaluation.judges.judge import Classifier, Classify
from esdctl.evaluation.sources import PictureSource
from esdctl.models.memory import memory_errors
from esdctl.progress import Reporter
from esdctl.sampling.plan import BatchSize
from esdctl.sampling.sample import Pixels
from esdctl.storage.lock import target_lock

# Cases and their pictures, (H, W, 3) each and of one size -> one row each.
Look = Callable[[Sequence[Case], Sequence[Pixels]], list[Row]]


class PictureJudge(Protocol[Row]):
    """A judge that gives rows of one kind."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> type[Row]:
        """Of the rows."""
        ...

    def digest(self) -> str:
        """sha256 that stands for its verdicts."""
        ...

    def load(self, device: torch.device, reporter: Reporter) -> Look[Row]:
        """Read the weights.

        Raises:
            InputError, IntegrityError: a file is damaged.
        """
        ...


@dataclass(frozen=True)
class ClassifierJudge:
    """A classifier, which names style and object of each picture."""

    classifier: Classifier
    kind: type[Judgement] = Judgement

    @property
    def name(self) -> str:
        return self.classifier.name

    def digest(self) -> str:
        return self.classifier.digest()

    def load(self, device: torch.device, reporter: Reporter) -> Look[Judgement]:
        classify = self.classifier.load(device, reporter)
        return lambda cases, pixels: classified(classify, cases, pixels)


@dataclass(frozen=True)
class DetectorJudge:
    """A detector, which finds labels on each picture."""

    detector: Detector
    kind: type[Inspection] = Inspection

    @property
    def name(self) -> str:
        return self.detector.name

    def digest(self) -> str:
        return self.detector.digest()

    def load(self, device: torch.device, reporter: Reporter) -> Look[Inspection]:
        detect = self.detector.load(device, reporter)

        def look(cases: Sequence[Case], pixels: Sequence[Pixels]) -> list[Inspection]:
            return [
                Inspection(*case.key, categories=case.categories, seen=tuple(seen))
                for case, seen in zip(cases, detect(np.stack(pixels)), strict=True)
            ]

        return look


@dataclass(frozen=True)
class Judging(Generic[Row]):
    """Lets judges see pictures, and notes what they see.

    Args:
        judges: side by side, each with how its pictures are made; they differ in the judge alone.
        folder: where rows are kept and looked up.
        device: where the judges look.
        batch_size: at most so many pictures at once; changes no picture.
        reporter: told of each batch, and of rows that are there already.
        only_known: whether to refuse to make or judge what is missing.
    """

    judges: Sequence[tuple[PictureJudge[Row], JudgingSettings]]
    folder: Path
    device: torch.device
    batch_size: BatchSize
    reporter: Reporter
    only_known: bool = False

    def judge(
        self, source: PictureSource, cases: Sequence[Case], task: str
    ) -> list[tuple[JudgementFile[Row], list[Row]]]:
        """Each judge's rows for a source's cases; pictures that several judges lack are made once.

        Args:
            source: of the pictures.
            cases: all different.
            task: names the work to the user.

        Returns:
            By judge: its file, and its rows in the order of the cases.

        Raises:
            InputError: a file is damaged, the model gives numbers that are not finite, or rows are
                missing where none may be made.
            UsageError: the source's folder holds other pictures.
            DeviceError: the memory does not suffice.
            Interrupted: the user pressed Ctrl-C; the rows so far stay.
            StorageError: the disk is full or not writable.
        """
        digest = source.digest()
        files = [
            JudgementFile(self.folder, settings, digest, judge.kind)
            for judge, settings in self.judges
        ]
        if not self.only_known:
            source.prepare(cases, self.batch_size, self.reporter)
        with ExitStack() as locks:
            for file in sorted(files, key=lambda file: file.path):
                locks.enter_context(target_lock(file.path, self.reporter))
            known = [file.read() for file in files]
            missing = [case for case in cases if any(case.key not in rows for rows in known)]
            if missing:
                self._add(source, files, known, missing, len(cases), task)
            elif cases:
                self.reporter.notice(_judged_before(task, len(cases), len(cases), files))
        return [
            (file, [rows[case.key] for case in cases])
            for file, rows in zip(files, known, strict=True)
        ]

    def _add(
        self,
        source: PictureSource,
        files: Sequence[JudgementFile[Row]],
        known: Sequence[dict[CaseKey, Row]],
        missing: Sequence[Case],
        total: int,
        task: str,
    ) -> None:
        done = total - len(missing)
        if self.only_known:
            raise InputError(
                f"{task}: {len(missing)} of {total} pictures are not judged in {files[0].path}",
                "leave --stages out, or evaluate with the same options first",
            )
        if done:
            self.reporter.notice(_judged_before(task, done, total, files))
        self.reporter.started(task, total, "pictures", done)
        try:
            batches = source.batches(missing, self.batch_size)
            with memory_errors(self.device, _advice):
                looks = [judge.load(self.device, self.reporter) for judge, _ in self.judges]
            for cases, pixels in batches:
                for look, file, rows in zip(looks, files, known, strict=True):
                    self._note(look, file, rows, cases, pixels)
                done += len(cases)
                self.reporter.advanced(task, done)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; {done} of {total} predictions are in {files[0].path}",
                "run the same command again to make the others",
            ) from None
        self.reporter.finished(task)

    def _note(
        self,
        look: Look[Row],
        file: JudgementFile[Row],
        known: dict[CaseKey, Row],
        cases: Sequence[Case],
        pixels: Sequence[Pixels],
    ) -> None:
        """One judge's rows of the pictures that it has not seen."""
        new = [index for index, case in enumerate(cases) if case.key not in known]
        if not new:
            return
        with memory_errors(self.device, _advice):
            rows = look([cases[index] for index in new], [pixels[index] for index in new])
        for row in rows:
            file.append(row)
            known[row.key] = row


def classified(
    classify: Classify, cases: Sequence[Case], pixels: Sequence[Pixels]
) -> list[Judgement]:
    """What a classifier sees on the cases' pictures, (H, W, 3) each."""
    return [
        Judgement(
            style=case.style,
            object=case.object,
            seed=case.picture.seed,
            predicted_style=verdict.style,
            predicted_object=verdict.object,
            p_style=verdict.p_style,
            p_object=verdict.p_object,
            prompt=case.picture.prompt,
            guidance=case.key.guidance,
            width=case.picture.width,
            height=case.picture.height,
            features=verdict.features,
        )
        for case, verdict in zip(cases, classify(np.stack(pixels)), strict=True)
    ]


def _judged_before(task: str, done: int, total: int, files: Sequence[JudgementFile[Row]]) -> str:
    where = " and ".join(str(file.path) for file in files)
    return f"{task}: {done} of {total} pictures were judged before, in {where}"


def _advice() -> list[str]:
    """Where the judge does not fit beside the model."""
    return ["use a smaller --batch-size", "use --device cpu"]
