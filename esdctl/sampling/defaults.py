"""Defaults of sampling: steps, seed, guidance scale, pictures at once."""

from esdctl.models.resolve import Pipeline

DEFAULT_STEPS = 25  # DDIM; the pocket model's quality figures are measured with it
DEFAULT_SEED = 188  # the benchmark's first seed
DEFAULT_BATCH_SIZE = 8
GUIDANCE = 7.5  # Stable Diffusion's usual scale
POCKET_GUIDANCE = 3.0  # the scale of the pocket model's quality figures


def default_guidance(pipeline: Pipeline) -> float:
    """The guidance scale that suits a model: 3 for pocket and what was erased from it, else 7.5."""
    return POCKET_GUIDANCE if pipeline.is_pocket else GUIDANCE
