"""Which classifier judges a model: the one that it brings, else UnlearnCanvas's."""

from pathlib import Path
from typing import Literal, get_args

from esdctl.errors import InputError
from esdctl.evaluation.judges.judge import Classifier
from esdctl.evaluation.judges.pocket import open_pocket
from esdctl.evaluation.judges.style50 import open_style50
from esdctl.models.resolve import Pipeline
from esdctl.settings.choice import one_of

ClassifierName = Literal["pocket", "style50"]

OWN = Path("classifier") / "model.safetensors"  # in a pipeline folder
FOLDER = "classifiers"  # in the workspace's models


def find_classifier(pipeline: Pipeline, models: Path, wanted: ClassifierName | None) -> Classifier:
    """The classifier that judges a model's pictures; none of its weights is read yet.

    Args:
        pipeline: the model.
        models: the workspace's folder of models.
        wanted: ``pocket`` is the one that a model brings, as the embedded one does; None takes it
            where there is one, else style50.

    Raises:
        InputError: there is no such classifier, or it is no classifier of this kind.
        IntegrityError: a file is damaged, or would run code.
    """
    own, folder = pipeline.folder / OWN, models / FOLDER
    if own.is_file() and wanted != "style50":
        return open_pocket(own)
    if wanted == "pocket":
        raise InputError(
            f"{pipeline.name} has no classifier of its own ({own})",
            "leave --classifier out, or name style50",
        )
    try:
        return open_style50(folder)
    except InputError as error:
        if wanted is not None:
            raise
        raise InputError(
            f"{pipeline.name} has no classifier of its own; {error.message}", error.hint
        ) from None


def parse_classifier(text: str) -> ClassifierName:
    """Read a classifier's name.

    Raises:
        UsageError: there is no such classifier; says which there are.
    """
    known: tuple[ClassifierName, ...] = get_args(ClassifierName)
    return one_of("--classifier", text, known)
