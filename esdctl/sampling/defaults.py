"""Defaults of sampling: steps, seed, guidance scale, pictures at once."""

from esdctl.models.resolve import Pipeline

DEFAULT_STEPS = 25  # DDIM; the pocket model's quality figures are measured with it
DEFAULT_SEED = 188  # the benchmark's first seed
DEFAULT_BATCH_SIZE = 8
POCKET_GUIDANCE = 3.0  # the scale of the pocket model's quality figures


def default_guidance(pipeline: Pipeline) -> float:
    """The guidance scale that suits a model: 3 for the embedded ones, else its family's."""
    return POCKET_GUIDANCE if pipeline.is_embedded else pipeline.files.architecture.family.guidance
