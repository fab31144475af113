"""Safe reading of .ckpt and .pth: the tensors that a pickle describes; nothing in it is run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from esdctl.checkpoints.file_form import Form
from esdctl.checkpoints.pickles.state_dict import find_state_dict, listing
from esdctl.checkpoints.pickles.stored_tensor import StoredTensor
from esdctl.checkpoints.pickles.torch_legacy import read_legacy
from esdctl.checkpoints.pickles.torch_zip import read_zip
from esdctl.checkpoints.pickles.values import PickleFault
from esdctl.checkpoints.refusal import hostile
from esdctl.checkpoints.tensor_info import MAX_TENSORS, TensorInfo, check_name, check_shape
from esdctl.errors import InputError
from esdctl.untrusted_text import shown

# Names may share a storage; unfolded they may take this many times the file's bytes.
_UNFOLDED = 4

_READERS: dict[Form, Callable[[Path], tuple[object, tuple[str, ...]]]] = {
    Form.ZIP: read_zip,
    Form.LEGACY: read_legacy,
}


@dataclass(frozen=True)
class PickledFile:
    """A pickled checkpoint whose tensors are known and checked, but unread.

    Args:
        path: the file.
        tensors: every weight, as a view of a run of bytes of the file.
        metadata: see ``state_dict``; with ``form``, and ``left_aside``: the classes of which
            nothing is made.
    """

    path: Path
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]

    @cached_property
    def infos(self) -> dict[str, TensorInfo]:
        return {name: tensor.info for name, tensor in self.tensors.items()}


def read_pickled(path: Path, form: Form) -> PickledFile:
    """Read what a pickled checkpoint says of its weights.

    Raises:
        InputError: it is a pickle of something else.
        IntegrityError: it lies, is damaged, or would run code.
    """
    try:
        value, left_aside = _READERS[form](path)
        found = find_state_dict(value)
    except PickleFault as error:
        if error.is_other_kind:
            raise InputError(
                f"{path}: {error.fault}", "give a checkpoint: torch.save of a state dict"
            ) from None
        raise hostile(path, error.fault) from None
    metadata = {"form": form.value, **found.metadata}
    if left_aside:
        metadata["left_aside"] = listing(left_aside)
    pickled = PickledFile(path, found.tensors, metadata)
    _check(pickled)
    return pickled


def _check(pickled: PickledFile) -> None:
    if len(pickled.tensors) > MAX_TENSORS:
        fault = f"it lists {len(pickled.tensors)} tensors, more than {MAX_TENSORS}"
        raise hostile(pickled.path, fault)
    for name, tensor in pickled.tensors.items():
        check_name(name, pickled.path)
        check_shape(name, tensor.shape, pickled.path)
        if fault := tensor.fault():
            raise hostile(pickled.path, f"{shown(name)} {fault}")
    unfolded = sum(info.bytes for info in pickled.infos.values())
    stored = pickled.path.stat().st_size
    if unfolded > _UNFOLDED * stored:
        fault = f"its tensors unfold a file of {stored} bytes to {unfolded}, which is a bomb"
        raise hostile(pickled.path, fault)
