"""What a full-size model costs on a CPU, roughly; a notice before the work starts."""

import torch

from esdctl.models.families.family import Config
from esdctl.models.image_size import trained_size
from esdctl.models.resolve import Pipeline

FULL_SIZE = 320  # channels of the U-Net's first level in SD 1.x to XL; the embedded model has fewer
FULL_HEADS = 20  # of a transformer; SD 3.x and FLUX have 24, the embedded model has 3
# A forward pass of SD 1.x at 512 px on two cores, fp32: 1,000 steps of six passes took six hours.
SECONDS_A_PASS = 3.6
XL = 2.5  # of SD 1.x's passes at the same size, by the number of parameters
TRANSFORMER = 3.0  # likewise, of SD 3.5 medium; the larger ones take a multiple
WORTH_SAYING = 180  # seconds


def cpu_cost_note(
    pipeline: Pipeline, device: str | None, passes: float, side: int | None = None
) -> str | None:
    """How long that many passes take on a CPU; None on a GPU, for a small model, or for few.

    Args:
        pipeline: the model.
        device: as the user named it; None for CUDA where there is one.
        passes: forward passes of one row each; a backward pass counts as two.
        side: of the pictures in pixels; None for the model's own.
    """
    architecture = pipeline.files.architecture
    is_cpu = device.startswith("cpu") if device else not torch.cuda.is_available()
    if not is_cpu or not is_full_size(architecture.denoiser):
        return None
    size = XL if architecture.family.has_size_conditions else 1.0
    size = TRANSFORMER if architecture.family.denoiser.groups else size
    seconds = passes * size * SECONDS_A_PASS * ((side or trained_size(pipeline)) / 512) ** 2
    if seconds < WORTH_SAYING:
        return None
    time = f"{seconds / 3600:.0f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"
    return (
        f"{pipeline.name} is a full-size model: on a CPU this takes about {time} (by two cores' "
        "speed; --dry-run measures it here). A GPU needs minutes; --model pocket is the small model"
    )


def is_full_size(denoiser: Config) -> bool:
    """Whether a pass of such a denoiser takes a CPU seconds."""
    widths = denoiser.get("block_out_channels")
    if widths is not None:
        return bool(widths[0] >= FULL_SIZE)
    return int(denoiser.get("num_attention_heads", FULL_HEADS)) >= FULL_HEADS
