"""Which encoder a name means."""

from pathlib import Path

from esdctl.errors import UsageError
from esdctl.evaluation.encoders.clip import open_clip_folder
from esdctl.evaluation.encoders.encoder import Encoder
from esdctl.evaluation.encoders.inception import open_inception
from esdctl.evaluation.encoders.judge import JudgeEncoder
from esdctl.evaluation.judges.find import find_classifier, known_judges
from esdctl.models.resolve import Pipeline
from esdctl.names import did_you_mean

CLIP_PREFIX = "clip:"
INCEPTION = "inception"


def find_encoder(name: str, pipeline: Pipeline, models: Path) -> Encoder:
    """The encoder of a name; none of its weights is read yet.

    Args:
        name: a judge's, ``inception``, or ``clip:FOLDER`` (relative to here or to ``models``).
        pipeline: the model, which may bring its judge.
        models: the workspace's folder of models.

    Raises:
        UsageError: there is no such encoder.
        InputError: it is not here; says how to get it.
        IntegrityError: a file is damaged.
    """
    if name in known_judges():
        return JudgeEncoder(find_classifier(pipeline, models, name))
    if name == INCEPTION:
        return open_inception(models)
    if name.startswith(CLIP_PREFIX):
        return open_clip_folder(name.removeprefix(CLIP_PREFIX), models)
    known = [*known_judges(), INCEPTION, f"{CLIP_PREFIX}FOLDER"]
    raise UsageError(f"there is no encoder {name!r}", did_you_mean(name, known))
