"""The form that every family fills in: what sets its models apart. Plain data; loads no torch.

A family is one file beside this one, which assigns a ``Family`` to ``FAMILY``; ``registry`` finds
it. No other module asks for a family's name: it asks the family. What a family does with tensors it
does by functions that import torch when they are called.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from esdctl.settings.prediction import PredictionType

if TYPE_CHECKING:
    import torch

    from esdctl.diffusion.conditioning import Conditioning, Encoded
    from esdctl.diffusion.schedule import Schedule

Config = Mapping[str, Any]  # the content of a config.json
Part = Literal["unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"]
TransformerTable = Literal["bfl", "bfl2", "mmdit"]  # of checkpoints.layouts.key_rows_transformer
NameTable = Literal["unet", "vae", "clip", "open_clip", "t5", TransformerTable]  # of key_rows there
LoraNames = Literal["diffusers", "compvis", "transformer", TransformerTable]
# A checkpoint's metadata -> what it predicts, and what to tell the user of the guess.
Prediction = Callable[[Mapping[str, str]], tuple[PredictionType, tuple[str, ...]]]


@dataclass(frozen=True)
class ModelPart:
    """One part of a family's models.

    Args:
        library: diffusers or transformers.
        class_name: the class in it that holds the part in memory.
        prefix: of the part's tensors in a checkpoint of one file; empty where we read none.
        table: which rows of names translate between a checkpoint and a pipeline folder.
        only: key of the part's config.json -> the values that we compute as the part's authors do;
            any other is refused. Of a list, every item has to be one of them.
        free: keys whose value, whatever it is, is used or changes no result; None where further
            keys mean nothing. A key that is neither here nor in ``only`` is named to the user.
        is_optional: whether a model may come without it.
        identity: square matrices that checkpoints of one file leave out, since nothing reads others
            than the identity.
    """

    library: Literal["diffusers", "transformers"]
    class_name: str
    prefix: str = ""
    table: NameTable | None = None
    only: Mapping[str, tuple[object, ...]] = field(default_factory=dict, hash=False)
    free: frozenset[str] | None = None
    is_optional: bool = False
    identity: frozenset[str] = frozenset()


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
        layers: the outputs of several layers, which lie side by side, are used in its place: how
            many layers stand before each of them.
        is_pooled: whether its one vector of the whole prompt is used, too.
        pooled: which output that is.
        full_layers: width -> layers of the published encoder, where a checkpoint may hold a last
            layer that nothing reads, which pipeline folders leave out.
        kind: how it reads a prompt; see ``models.text``; a chat model, as a user's turn.
        longest: tokens that it reads at most; None leaves it to the tokenizer.
    """

    part: Part
    tokenizer: str
    padding: str | None = None
    activation: Literal["quick_gelu", "gelu"] = "gelu"
    hidden_state: Literal["last", "penultimate"] = "last"
    layers: tuple[int, ...] = ()
    is_pooled: bool = False
    pooled: Literal["text_embeds", "pooler_output"] = "text_embeds"
    full_layers: Mapping[int, int] | None = None
    kind: Literal["clip", "t5", "chat"] = "clip"
    longest: int | None = None


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
        latents_side: prediction type -> side of the latents of the published models, where their
            configs may not say it, or never do.
        schedule: its config with all defaults, and the latents' (height, width) -> the schedule.
        needed: keys without which a scheduler_config.json says another process than this.
        prediction_type: the only one that there is; None where a model says it.
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
    schedule: "Callable[[Config, tuple[int, int]], Schedule]"
    needed: Config = field(default_factory=dict)
    prediction_type: PredictionType | None = None
    has_tables: bool = False
    has_prediction_mark: bool = False


# Latents (B, C, h, w), timesteps (B,) and B conditions -> how diffusers' network is asked:
# positional and named arguments.
Ask = Callable[
    ["torch.Tensor", "torch.Tensor", "Conditioning"], tuple[tuple[Any, ...], dict[str, Any]]
]
# What the text encoders made of B prompts, in their order, and the denoiser's config.json
# -> what the denoiser is told of the prompts, B rows.
Tell = Callable[["Sequence[Encoded]", Config], "Conditioning"]
# The VAE, and latents -> other latents, (B, C, h, w) each.
Change = Callable[[Any, "torch.Tensor"], "torch.Tensor"]


def _same(answer: "torch.Tensor", latents: "torch.Tensor") -> "torch.Tensor":
    return answer


def _one(config: Config) -> int:
    return 1


def _scaled(vae: Any, latents: "torch.Tensor") -> "torch.Tensor":
    shift = float(vae.config.get("shift_factor") or 0.0)
    return (latents - shift) * float(vae.config.scaling_factor)


def _unscaled(vae: Any, latents: "torch.Tensor") -> "torch.Tensor":
    shift = float(vae.config.get("shift_factor") or 0.0)
    return latents / float(vae.config.scaling_factor) + shift


@dataclass(frozen=True)
class Latents:
    """What the denoiser has of a picture: the VAE's latents in another scale and order.

    Args:
        of_vae: the VAE's latents (B, c, H/8, W/8) -> the denoiser's.
        to_vae: the way back.
        patch: places a side of the VAE's latents that are one of the denoiser's; their channels
            then lie side by side.
        channels: c, where the VAE's config.json does not say it.
    """

    of_vae: Change = _scaled
    to_vae: Change = _unscaled
    patch: int = 1
    channels: int = 4


@dataclass(frozen=True)
class Denoiser:
    """The network that is trained, and how it is asked.

    Args:
        part: which part it is.
        ask: how diffusers' class is asked for a prediction.
        tell: what it is told of prompts.
        is_config: whether its config.json is of this family.
        title: for messages.
        answer: its first output, and the latents -> the prediction, (B, C, h, w).
        groups: train method -> which parameters it moves, by diffusers' names, where the methods
            of a U-Net mean nothing; see ``erasing.train_methods``.
        patch: its config.json -> what the sides of its latents are multiples of.
        takes_guidance: for models that were distilled to do without a second pass under the empty
            prompt: its config.json -> whether it is told the scale of guidance instead; where it is
            not, it needs none. None for models that are guided by a second pass.
    """

    part: Part
    ask: Ask
    tell: Tell
    is_config: Callable[[Config], bool]
    title: str = "U-Net"
    answer: "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]" = _same
    groups: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
    patch: Callable[[Config], int] = _one
    takes_guidance: Callable[[Config], bool] | None = None


@dataclass(frozen=True)
class OneFile:
    """How a transformer lies in a checkpoint of one file, perhaps without the other parts.

    Args:
        mark: the name of a tensor that only this family's transformers have.
        config: the shapes of its tensors under the file's names, without prefix -> its
            config.json. A KeyError or ValueError says that they are of no such transformer.
        scheduler: its config.json -> what the published model's scheduler_config.json says
            otherwise than ``Process.scheduler``.
        tasks: channels that it takes -> what a transformer that takes more than the latents is for.
        is_bare: whether one alone is published without prefix.
    """

    mark: str
    config: Callable[[Mapping[str, tuple[int, ...]]], dict[str, Any]]
    scheduler: Callable[[Config], Config] = lambda transformer: {}
    tasks: Mapping[int, str] = field(default_factory=dict)
    is_bare: bool = False


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
        denoiser: the network that is trained.
        process: the diffusion process.
        pipeline_options: further entries of model_index.json.
        lora_names: whose names of the denoiser's modules LoRA files use; ``transformer`` is
            diffusers' own form.
        kohya_names: whose names kohya's tools use where that form is not theirs.
        latents: what the denoiser has of the VAE's latents.
        guidance: the usual scale of sampling.
        checkpoint_mark: a prefix that only this family's checkpoints of one file have; None where
            we read none.
        one_file: how a file of one model is read whose denoiser is a transformer; None for others.
        heads: attention heads of every level where nothing says them; None is 64 channels a head.
        vae: what no shape tells of the VAE's config.json.
        has_size_conditions: whether the U-Net is told the pooled prompt and the picture's size.
        ldm_text: what an LDM config file says of the text encoder; None where LDM has no such
            model.
        modelspec: ``modelspec.architecture`` in a checkpoint's metadata -> the prediction type that
            it implies.
        modelspec_layer: ``modelspec.encoder_layer`` of what ``hidden_state`` of the encoders says.
        narrower_groups: train method -> which of the parameters that the method selects elsewhere
            it selects in this family, by CompVis' names.
    """

    name: str
    title: str
    pipeline: str
    same_pipelines: frozenset[str]
    parts: Mapping[Part, ModelPart]
    encoders: tuple[TextEncoder, ...]
    denoiser: Denoiser
    process: Process
    pipeline_options: Config
    lora_names: LoraNames
    kohya_names: LoraNames | None = None
    latents: Latents = Latents()
    guidance: float = 7.5
    checkpoint_mark: str | None = None
    one_file: OneFile | None = None
    heads: int | None = None
    vae: Config = field(default_factory=dict)
    has_size_conditions: bool = False
    ldm_text: Config | None = None
    modelspec: Mapping[str, PredictionType | None] = field(default_factory=dict)
    modelspec_layer: str = ""
    narrower_groups: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)
