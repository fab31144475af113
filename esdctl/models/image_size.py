"""How large a model's pictures are: the size that its denoiser was trained for."""

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.errors import InputError, UsageError
from esdctl.models.resolve import Pipeline


def trained_size(pipeline: Pipeline) -> int:
    """The side of the pictures that a model was trained for, in pixels.

    Raises:
        InputError: a part's config does not say it.
    """
    architecture = pipeline.files.architecture
    usual = architecture.family.process.latents_side.get(architecture.prediction_type)
    try:
        side = int(architecture.denoiser.get("sample_size", usual))
        return side * pixels_per_latent(architecture)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot read the picture size of {pipeline.name} from the config.json of its denoiser "
            f"and VAE ({type(error).__name__}: {error})",
            "the model's folder is damaged; get it again",
        ) from error


def pixels_per_latent(architecture: Architecture) -> int:
    """Pixels a side of one latent: 8 for Stable Diffusion."""
    levels = len(architecture.vae["block_out_channels"])
    return int(2 ** (levels - 1)) * architecture.family.latents.patch


def check_sides(pipeline: Pipeline, height: int, width: int) -> None:
    """Refuse pictures that a model cannot make, sides in pixels.

    Raises:
        UsageError: a side is no multiple of what the denoiser takes for one token.
    """
    architecture = pipeline.files.architecture
    patch = architecture.family.denoiser.patch(architecture.denoiser)
    least = pixels_per_latent(architecture) * patch
    if height % least or width % least:
        raise UsageError(
            f"{pipeline.name} makes no pictures of {width} x {height} pixels",
            f"use a size that is a multiple of {least}",
        )
