"""Defaults of sampling: steps, seed, guidance scale, pictures at once."""

from esdctl.models.resolve import Pipeline

DEFAULT_STEPS = 25  # DDIM; the pocket model's quality figures are measured with it
DEFAULT_SEED = 188  # the benchmark's first seed
DEFAULT_BATCH_SIZE = 8
POCKET_GUIDANCE = 3.0  # the scale of the pocket model's quality figures


def default_guidance(pipeline: Pipeline) -> float:
    """The guidance scale that suits a model: 3 for the embedded ones, else its family's.

    It is 1, which costs one pass a step, where a distilled model needs none.
    """
    if pipeline.is_embedded:
        return POCKET_GUIDANCE
    architecture = pipeline.files.architecture
    takes_guidance = architecture.family.denoiser.takes_guidance
    if takes_guidance is not None and not takes_guidance(architecture.denoiser):
        return 1.0
    return architecture.family.guidance
