"""diffusers' own pipeline on the parts of a loaded model, the delta in place."""

from typing import Any

from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from esdctl.diffusion.ddim import DiscreteSchedule
from esdctl.diffusion.flow import FlowSchedule
from esdctl.models.stable_diffusion import StableDiffusion


def as_diffusers_pipeline(model: StableDiffusion) -> Any:
    """The family's pipeline, with DDIM or Euler as ``esdctl sample`` has it.

    Args:
        model: whose modules the pipeline takes as they are, without copies.
    """
    import diffusers

    index = model.architecture
    parts: dict[str, Any] = {
        "vae": model.vae,
        model.files.denoiser: model.denoiser,
        "scheduler": _scheduler(model),
    }
    for encoder, module, tokenizer in zip(
        index.encoders, model.text_encoders, model.tokenizers, strict=True
    ):
        parts |= {encoder.part: module, encoder.tokenizer: tokenizer}
    absent = [each for each in model.family.encoders if each not in index.encoders]
    for encoder in absent:
        parts |= {encoder.part: None, encoder.tokenizer: None}
    options = {
        key: None if isinstance(value, list) else value
        for key, value in model.family.pipeline_options.items()
    }
    if "force_zeros_for_empty_prompt" in options:
        options["force_zeros_for_empty_prompt"] = model.empty_is_zero
    return getattr(diffusers, model.family.pipeline)(**parts, **options)


def _scheduler(model: StableDiffusion) -> Any:
    schedule = model.schedule
    if isinstance(schedule, FlowSchedule):
        own = {**model.family.process.scheduler, **model.architecture.scheduler}
        return FlowMatchEulerDiscreteScheduler.from_config(own)
    assert isinstance(schedule, DiscreteSchedule)
    noise = model.architecture.noise
    return DDIMScheduler(
        beta_start=noise["beta_start"],
        beta_end=noise["beta_end"],
        beta_schedule=noise["beta_schedule"],
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=schedule.prediction_type,
        timestep_spacing=schedule.spacing,
    )
