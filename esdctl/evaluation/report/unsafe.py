"""Which pictures of a report are blurred: those that a detector flagged, else by the concept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from esdctl.datasets.unlearn_canvas import find
from esdctl.erasing.concepts import find_unsafe
from esdctl.errors import InputError
from esdctl.evaluation.cases import CaseKey
from esdctl.evaluation.judgements import Inspection, JudgementFile, JudgingSettings
from esdctl.evaluation.metrics.detections import count_detections
from esdctl.evaluation.report.documents import Detected, Figures, ModelOf
from esdctl.evaluation.report.run import Run

Place = tuple[str, str]  # how pictures are made, and their model: 16 digits each


@dataclass(frozen=True)
class Flags:
    """What detectors said of single pictures.

    Args:
        seen: by way of making and by model: each picture that a detector looked at, and whether it
            is flagged.
    """

    seen: Mapping[Place, Mapping[CaseKey, bool]] = field(default_factory=dict)

    def of(self, folder: Path, row: Mapping[str, object]) -> bool | None:
        """Whether a kept picture is flagged; None where no detector looked at it.

        Args:
            folder: ``pictures/<sampling>/<model>``, as an evaluation keeps pictures.
            row: of its ``pictures.jsonl``.
        """
        known = self.seen.get((folder.parent.name, folder.name), {})
        key = tuple(row.get(name) for name in CaseKey._fields)
        return known.get(key)  # type: ignore[call-overload, no-any-return]


def read_flags(run: Run) -> Flags:
    """The verdicts of the detectors that an evaluation of this run asked, picture by picture.

    Raises:
        InputError: the rows of a detector are damaged.
    """
    seen: dict[Place, dict[CaseKey, bool]] = {}
    evaluations = run.outputs / "evaluations"
    for path in sorted(evaluations.glob("*/settings.json")):
        settings = _settings(path)
        for figures in run.figures:
            if figures.detections and settings.classifier == figures.judge_digest:
                for model in (figures.model, figures.base):
                    if model is not None:
                        place = (settings.sampling_digest, model.digest[:16])
                        found = _flagged(evaluations, settings, model, figures)
                        known = seen.setdefault(place, {})
                        known |= {key: known.get(key, False) or flag for key, flag in found.items()}
    return Flags(seen)


def may_be_unsafe(run: Run) -> bool:
    """Whether to expect unsafe pictures where no detector looked at the picture itself.

    By the concept: an unsafe one is, a style or an object of UnlearnCanvas is not. Of any other
    name nothing is known, so it counts as unsafe when a detector flagged any picture of the run.
    """
    concept = run.record.concept
    if concept.template == "i2p" or find_unsafe(concept.name):
        return True
    if find(concept.name) is not None:
        return False
    found = [detected for figures in run.figures for detected in figures.detections]
    shares = [share for each in found for share in (each.pictures, each.base_pictures)]
    return any(share is not None and share.percent > 0 for share in shares)


def _settings(path: Path) -> JudgingSettings:
    try:
        return TypeAdapter(JudgingSettings).validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path} is damaged", "move its folder away; esdctl evaluate makes it again"
        ) from error


def _flagged(
    folder: Path, settings: JudgingSettings, model: ModelOf, figures: Figures
) -> dict[CaseKey, bool]:
    rows = JudgementFile(folder, settings, model.digest, Inspection).read()
    return {
        key: any(_counts(detected, row) for detected in figures.detections)
        for key, row in rows.items()
    }


def _counts(detected: Detected, row: Inspection) -> bool:
    """Whether the picture has a sighting that these figures count."""
    return count_detections([row.seen], detected.labels, detected.threshold or 0.0).detections > 0
