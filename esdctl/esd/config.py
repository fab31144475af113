"""TrainConfig: every setting of an erasure, with its limits. Loads no torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from esdctl.esd.train_methods import canonical_method

PositiveInt = Annotated[int, Field(ge=1)]


class TrainConfig(BaseModel):
    """The settings of one erasure; immutable, and the same on every machine.

    ``negative_guidance`` is eta in the convention of the paper (Gandikota et al. 2023, eq. 7): the
    target starts from the unconditional prediction. The authors' present code starts from the
    conditional one without ``--erase_from``; its eta is ours plus 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = None
    concept: str | None = None
    template: Literal["style", "object", "i2p"] | None = None
    prompt: tuple[str, ...] = ()
    separator: str | None = None
    erase_from: str | None = None
    train_method: str = "xattn"
    trajectory: Literal["exact"] = "exact"
    negative_guidance: Annotated[float, Field(ge=0)] = 1.0
    start_guidance: Annotated[float, Field(ge=0)] = 3.0
    iterations: PositiveInt = 1000
    lr: Annotated[float, Field(gt=0)] = 1e-5
    batch_size: PositiveInt = 1
    ddim_steps: Annotated[int, Field(ge=1, le=1000)] = 50
    image_size: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    retain: tuple[str, ...] = ()
    retain_all: bool = False
    retain_weight: Annotated[float, Field(ge=0)] = 1.0
    save_every: PositiveInt = 50
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: str | None = None

    @field_validator("train_method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        return canonical_method(value)

    @field_validator("separator")
    @classmethod
    def _separator_not_empty(cls, value: str | None) -> str | None:
        if value == "":
            raise ValueError("must not be empty; leave it out for one prompt")
        return value

    @field_validator("prompt", "retain", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value
