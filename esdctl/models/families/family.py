"""The form that every family fills in: what sets its models apart. Plain data; loads no torch.

A family is one file beside this one, which assigns a ``Family`` to ``FAMILY``; ``registry`` finds
it. No other module asks for a family's name: it asks the family.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from esdctl.settings.prediction import PredictionType

Config = Mapping[str, Any]  # the content of a config.json
Part = Literal["unet", "vae", "text_encoder", "text_encoder_2"]
NameTable = Literal["unet", "vae", "clip", "open_clip"]  # of checkpoints.layouts.key_rows
UNetNames = Literal["diffusers", "compvis"]
# A checkpoint's metadata -> what it predicts, and what to tell the user of the guess.
Prediction = Callable[[Mapping[str, str]], tuple[PredictionType, tuple[str, ...]]]


@dataclass(frozen=True)
class ModelPart:
    """One part of a family's models.

    Args:
        library: diffusers or transformers.
        class_name: the class in it that holds the part in memory.
        prefix: of the part's tensors in a checkpoint of one file.
        table: which rows of names translate between a checkpoint and a pipeline folder.
        only: key of the part's config.json -> the values that we compute as the part's authors do;
            any other is refused. Of a list, every item has to be one of them.
        free: keys whose value, whatever it is, is used or changes no result; None where further
            keys mean nothing. A key that is neither here nor in ``only`` is named to the user.
    """

    library: Literal["diffusers", "transformers"]
    class_name: str
    prefix: str
    table: NameTable
    only: Mapping[str, tuple[object, ...]] = field(default_factory=dict, hash=False)
    free: frozenset[str] | None = None


@dataclass(frozen=True)
class TextEncoder:
    """How one text encoder turns a prompt into what the denoiser is told.

    Args:
        part: which part it is.
        tokenizer: the folder of its tokenizer in a pipeline folder.
        padding: the token that fills a prompt up where no tokenizer comes with the weights; None is
            the end-of-text token.
        activation: as ``hidden_act`` in its config.json; no shape tells it.
        hidden_state: which output is used: ``last``, after the last layer and the final norm, or
            ``penultimate``, before the last layer.
        is_pooled: whether its projection of the whole prompt is used, too.
        full_layers: width -> layers of the published encoder, where a checkpoint may hold a last
            layer that nothing reads, which pipeline folders leave out.
    """

    part: Part
    tokenizer: str
    padding: str | None
    activation: Literal["quick_gelu", "gelu"]
    hidden_state: Literal["last", "penultimate"]
    is_pooled: bool = False
    full_layers: Mapping[int, int] | None = None


@dataclass(frozen=True)
class Process:
    """The diffusion process that the models are trained for.

    Args:
        scheduler: scheduler_config.json of the published pipelines, but for ``prediction_type``.
        samplers: the scheduler classes of diffusers that sample this process; it is what they share
            that counts, and our own samplers stand in for them.
        only: key of scheduler_config.json -> the values that belong to this process; any other is
            refused.
        unused: key of scheduler_config.json that says how to sample -> what our samplers do; any
            other value is named to the user.
        prediction: what a checkpoint of one file predicts where its metadata do not say so.
            The second result tells the user what was guessed.
        latents_side: prediction type -> side of the latents of the published models.
        has_tables: whether a checkpoint of one file holds the noise schedule's tables.
        has_prediction_mark: whether a checkpoint that we write says by an empty tensor that it
            predicts v.
    """

    scheduler: Config
    samplers: frozenset[str]
    only: Mapping[str, tuple[object, ...]]
    unused: Mapping[str, tuple[object, ...]]
    prediction: Prediction
    latents_side: Mapping[PredictionType, int]
    has_tables: bool
    has_prediction_mark: bool


@dataclass(frozen=True, eq=False)
class Family:
    """Models that are built alike; their sizes may differ.

    Args:
        name: short, as in JSON output and metadata.
        title: for messages.
        pipeline: diffusers' class, ``_class_name`` in model_index.json.
        same_pipelines: other classes that use the same model for other tasks.
        parts: in a fixed order.
        encoders: in the order in which their embeddings lie side by side.
        process: the diffusion process.
        checkpoint_mark: a prefix that only this family's checkpoints of one file have.
        is_unet_config: whether a U-Net's config.json is of this family.
        heads: attention heads of every level where nothing says them; None is 64 channels a head.
        vae: what no shape tells of the VAE's config.json.
        has_size_conditions: whether the U-Net is told the pooled prompt and the picture's size.
        pipeline_options: further entries of model_index.json.
        lora_names: whose names of the U-Net's modules kohya's LoRA files use.
        ldm_text: what an LDM config file says of the text encoder; None where LDM has no such
            model.
        modelspec: ``modelspec.architecture`` in a checkpoint's metadata -> the prediction type that
            it implies.
        modelspec_layer: ``modelspec.encoder_layer`` of what ``hidden_state`` of the encoders says.
        unet_mark: a prefix that only this family's U-Net has, under CompVis' names.
        narrower_groups: train method -> which of the parameters that the method selects elsewhere
            it selects in this family, by CompVis' names.
    """

    name: str
    title: str
    pipeline: str
    same_pipelines: frozenset[str]
    parts: Mapping[Part, ModelPart]
    encoders: tuple[TextEncoder, ...]
    process: Process
    checkpoint_mark: str
    is_unet_config: Callable[[Config], bool]
    heads: int | None
    vae: Config
    has_size_conditions: bool
    pipeline_options: Config
    lora_names: UNetNames
    ldm_text: Config | None
    modelspec: Mapping[str, PredictionType | None]
    modelspec_layer: str
    unet_mark: str | None = None
    narrower_groups: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
