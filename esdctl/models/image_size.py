"""How large a model's pictures are: the size that its U-Net was trained for."""

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.errors import InputError
from esdctl.models.resolve import Pipeline


def trained_size(pipeline: Pipeline) -> int:
    """The side of the pictures that a model was trained for, in pixels.

    Raises:
        InputError: a part's config does not say it.
    """
    architecture = pipeline.files.architecture
    try:
        return int(architecture.denoiser["sample_size"]) * pixels_per_latent(architecture)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot read the picture size of {pipeline.name} from the config.json of its denoiser "
            f"and VAE ({type(error).__name__}: {error})",
            "the model's folder is damaged; get it again",
        ) from error


def pixels_per_latent(architecture: Architecture) -> int:
    """Pixels a side of one latent: 8 for Stable Diffusion."""
    return int(2 ** (len(architecture.vae["block_out_channels"]) - 1))
