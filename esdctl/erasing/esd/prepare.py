"""What training starts from: embeddings of all prompts, and the student beside its frozen copy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.concepts import Concept
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings
from esdctl.erasing.esd.student import Student, new_student
from esdctl.erasing.train_methods import select
from esdctl.models.memory import return_freed_memory
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import encode_prompts

LARGE = 1e9  # bytes of a U-Net; beside its passes the system's clearing of memory is nothing


@dataclass(frozen=True)
class Prepared:
    """A student that can be trained.

    Args:
        student: on its device.
        embeddings: of all prompts, in the machine's memory.
        latent: shape of one latent, (C, h, w).
        schedule: the process, for pictures of this size.
    """

    student: Student
    embeddings: Embeddings
    latent: tuple[int, int, int]
    schedule: Schedule


def prepare(
    model: StableDiffusion,
    pipeline: Pipeline,
    concept: Concept,
    config: TrainConfig,
    second: Sequence[torch.device] = (),
    drawn: Sequence[str] = (),
) -> Prepared:
    """Encode each prompt once, and split the denoiser; no text encoder stays in memory.

    Args:
        model: its denoiser becomes the student's.
        pipeline: the model's files, for the text encoders and for a second denoiser.
        concept: gives the prompts.
        config: gives train method, image size and gradient checkpointing.
        second: that device; none where the two share one.
        drawn: prompts that pictures will be drawn by.

    Raises:
        UsageError: the train method selects nothing.
    """
    if model.device.type == "cpu" and _bytes_of(model.denoiser) >= LARGE:
        return_freed_memory()
    side = config.image_size or model.image_size
    embeddings = embeddings_of(pipeline, model.device, concept, side, drawn)
    copy = load(pipeline, second[0], model.dtype, model.storage).denoiser if second else None
    every = [name for name, _ in model.denoiser.named_parameters()]
    names = select(config.train_method, every, model.family)
    student = new_student(
        model.denoiser, model.family.denoiser, names, model.denoiser_values, model.dtype, copy
    )
    if config.gradient_checkpointing:
        model.denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
    height = width = side // model.vae_factor
    schedule = model.schedule_for(side, side)
    return Prepared(student, embeddings, (model.latent_channels, height, width), schedule)


def _bytes_of(network: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def embeddings_of(
    pipeline: Pipeline,
    device: torch.device,
    concept: Concept,
    side: int,
    drawn: Sequence[str] = (),
) -> Embeddings:
    """Embeddings of all prompts, in the machine's memory; no text encoder stays there.

    Args:
        pipeline: the model's files.
        device: where the text encoders run.
        concept: gives the prompts.
        side: of a picture, in pixels.
        drawn: further prompts, which no step asks for.
    """
    # Opened for this alone: mapped pages stay in memory as long as their file is open.
    model = load(replace(pipeline), device)

    def encode(prompts: Sequence[str]) -> Conditioning:
        return encode_prompts(model, prompts).for_size(side, side).to(torch.device("cpu"))

    sources = concept.sources or ((concept.erase_from,) if concept.erase_from else ())
    embeddings = Embeddings(
        prompts=encode(concept.prompts),
        erase_from=encode(sources) if sources else None,
        retained=encode(concept.retained) if concept.retained else None,
        empty=encode([""]),
        drawn=dict(zip(drawn, encode(drawn), strict=True)) if drawn else {},
    )
    model.drop("text_encoders")
    return embeddings
