"""What is known of a tensor before it is read, and which descriptions of one are refused."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from esdctl.checkpoints.refusal import hostile
from esdctl.errors import IntegrityError
from esdctl.untrusted_text import shown

# safetensors' names of element types, and torch's types.
DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

Shape = tuple[int, ...]

MAX_NAME = 512  # characters; Stable Diffusion's longest name has about 110
MAX_DIMENSIONS = 8  # a convolution has 4
MAX_SIDE = 2**31 - 1  # elements along one dimension
MAX_TENSORS = 100_000  # SDXL has about 2,500


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file, unread.

    Args:
        dtype: by safetensors' name: F32, F16, BF16, I64 and so on.
        shape: elements along each dimension.
    """

    dtype: str
    shape: Shape

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The size of its data."""
        return self.elements * DTYPES[self.dtype].itemsize


_BROKEN = "its training diverged, or the file is damaged; get another version of it"


def check_name(name: str, path: Path) -> None:
    """Refuse a tensor's name that could be taken for a path, or that harms a terminal.

    Raises:
        IntegrityError: what is wrong with the name.
    """
    if not name:
        raise hostile(path, "a tensor has no name")
    if len(name) > MAX_NAME:
        raise hostile(path, f"the tensor's name {shown(name)} has {len(name)} characters")
    if "/" in name or "\\" in name or name.startswith(".."):
        raise hostile(path, f"the tensor's name {shown(name)} looks like a path")
    if not name.isprintable():
        raise hostile(path, f"the tensor's name {shown(name)} holds a control character")


def check_shape(name: str, shape: Shape, path: Path) -> None:
    """Refuse a shape that no tensor of a model has.

    Raises:
        IntegrityError: what is wrong with the shape.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise hostile(path, f"{shown(name)} has an absurd shape of {len(shape)} dimensions")
    for side in shape:
        if side < 0:
            raise hostile(path, f"{shown(name)} has a negative size in its shape")
        if side > MAX_SIDE:
            raise hostile(path, f"{shown(name)} has an absurd shape: a size above {MAX_SIDE}")


def refuse_not_finite(tensor: torch.Tensor, name: str, path: Path) -> None:
    """Refuse a tensor with a NaN or an infinity in it.

    Args:
        tensor: any shape, any type; those without NaN pass.
        name, path: for the message.

    Raises:
        IntegrityError: a value is not finite.
    """
    what = not_finite(tensor)
    if what:
        raise IntegrityError(f"{path}: {shown(name)} holds {what}", _BROKEN)


def not_finite(tensor: torch.Tensor) -> str:
    """``NaN``, ``an infinity``, or nothing where all is finite; one pass, no memory of its own."""
    if tensor.numel() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
        return ""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if tensor.element_size() == 1:  # torch compares no float8
        tensor = tensor.to(torch.float16)
    # Minimum and maximum carry a NaN on and keep an infinity; fifty times faster than isfinite().
    lowest, highest = torch.aminmax(tensor)
    for value in (float(lowest), float(highest)):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "an infinity"
    return ""
