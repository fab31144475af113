"""Which preset suits what is asked for, where none is named. Loads no torch."""

from esdctl.erasing.concepts import template_of
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.train_methods import moves_keys_and_values
from esdctl.models.named import EMBEDDED
from esdctl.models.resolve import Pipeline
from esdctl.settings.resolve import Resolved


def preset_of(without_preset: Resolved[TrainConfig], pipeline: Pipeline) -> str:
    """Its name.

    Args:
        without_preset: the settings as they are without one.
        pipeline: the model.
    """
    if pipeline.name == "pocket":
        return _preset_of_pocket(without_preset)
    if pipeline.name in EMBEDDED:
        return pipeline.name
    denoiser = pipeline.files.architecture.family.denoiser
    if denoiser.groups:
        return "flow" if denoiser.takes_guidance is None else "flow-distilled"
    return template_of(without_preset.value)  # style, object or i2p


def guidance_notes(config: TrainConfig, pipeline: Pipeline) -> list[str]:
    """A notice where trajectories are guided by a second pass that the model was distilled not to
    need."""
    is_distilled = pipeline.files.architecture.family.denoiser.takes_guidance is not None
    if not is_distilled or config.start_guidance == 1.0:
        return []
    return [
        f"start_guidance {config.start_guidance:g} adds a second pass under the empty prompt to "
        f"trajectories of {pipeline.name}, which was distilled to need none: 1 leaves it out"
    ]


def _preset_of_pocket(without_preset: Resolved[TrainConfig]) -> str:
    """The usual one starts with an edit of keys and values, which needs prompts to keep."""
    config, named = (
        without_preset.value,
        {
            key
            for key, origin in without_preset.origins.items()
            if not origin.startswith(("default", "method "))
        },
    )
    if "train_method" in named and not moves_keys_and_values(config.train_method):
        return "pocket-noxattn"
    keeps_nothing = "retain_all" in named and not (config.retain_all or config.retain)
    is_cold = "warm_start" in named and not config.warm_start
    return "pocket-cold" if is_cold or keeps_nothing else "pocket"
