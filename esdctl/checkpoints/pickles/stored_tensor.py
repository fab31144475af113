"""How torch describes a tensor in a pickle: a storage, an offset, a shape and strides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from esdctl.checkpoints.pickles.names import GlobalName, is_everyday
from esdctl.checkpoints.pickles.storages import Storage, whole
from esdctl.checkpoints.pickles.values import Inert, Items, PickleFault, Row, Table, describe
from esdctl.checkpoints.tensor_info import DTYPES, MAX_DIMENSIONS, NAMES, TensorInfo

_TORCH_DTYPES = {str(dtype): name for dtype, name in ((d, NAMES[d]) for d in DTYPES.values())}


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage; ``offset`` and ``strides`` count elements of ``dtype``."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(self.dtype, self.shape)

    @property
    def span(self) -> int:
        """Elements from the first to the last one, both counted."""
        if 0 in self.shape:
            return 0
        sides = zip(self.shape, self.strides, strict=True)
        return 1 + sum((side - 1) * stride for side, stride in sides)

    @property
    def is_contiguous(self) -> bool:
        """Whether its elements lie one behind another in reading order."""
        expected = 1
        for side, stride in zip(self.shape[::-1], self.strides[::-1], strict=True):
            if side != 1 and stride != expected:
                return False
            expected *= side
        return True

    def fault(self) -> str:
        """What is wrong with the view; empty when nothing is."""
        if len(self.shape) != len(self.strides):
            return "has more sizes than strides, or fewer"
        if any(side < 0 for side in self.shape):
            return "has a negative size in its shape"
        if any(stride < 0 for stride in self.strides):
            return "has a negative stride"
        if self.offset < 0:
            return "begins before its storage"
        itemsize = DTYPES[self.dtype].itemsize
        if (self.offset + self.span) * itemsize > self.storage.bytes:
            return "reaches beyond the end of its storage"
        reach = 0  # of the dimensions with smaller strides
        sides = zip(self.shape, self.strides, strict=True)
        for stride, side in sorted((stride, side) for side, stride in sides if side > 1):
            if stride <= reach:
                return "overlaps itself: its strides lead to one element twice"
            reach += (side - 1) * stride
        return ""


MAX_ARGUMENTS = 4_000_000  # of all calls together; SDXL's have about 20,000
_SIZED = Row | Items | Table


class TorchCalls:
    """The values of calls in a torch pickle; whatever describes no tensor becomes a stub.

    Args:
        load: the value of a persistent id, which differs between torch's forms.
    """

    def __init__(self, load: Callable[[object], object]) -> None:
        self._load = load
        self._arguments = 0
        self._left_aside: dict[str, None] = {}

    @property
    def left_aside(self) -> tuple[str, ...]:
        """The classes and functions, beyond torch's and Python's own, that nothing is made of."""
        return tuple(self._left_aside)

    def mention(self, name: GlobalName) -> None:
        if not is_everyday(name):
            self._left_aside[str(name)] = None

    def persistent(self, identity: object) -> object:
        return self._load(identity)

    def call(self, function: GlobalName, arguments: Row) -> object:
        known = _KNOWN.get(function.path)
        if known is None:
            return Inert(function)
        # Arguments from the memo cost the pickle nothing, and us their length.
        sizes = [len(value) for value in arguments if isinstance(value, _SIZED)]
        self._arguments += len(arguments) + sum(sizes)
        if self._arguments > MAX_ARGUMENTS:
            raise PickleFault(f"its calls have more than {MAX_ARGUMENTS} arguments in all")
        try:
            return known(*arguments)
        except PickleFault:
            raise
        except (TypeError, ValueError):
            raise PickleFault(f"its pickle calls {function} with other arguments") from None


def _wholes(values: object) -> tuple[int, ...]:
    if not isinstance(values, Row | Items):
        raise PickleFault("a shape or strides are no tuple of numbers")
    if len(values) > MAX_DIMENSIONS:
        raise PickleFault(f"a tensor has an absurd shape of {len(values)} dimensions")
    return tuple(whole(value) for value in values)


def _tensor(storage: object, offset: object, shape: object, strides: object) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise PickleFault("a tensor stands on something else than a storage")
    return StoredTensor(storage, storage.dtype, whole(offset), _wholes(shape), _wholes(strides))


def _tensor_v2(
    storage: object, offset: object, shape: object, strides: object, *rest: Any
) -> StoredTensor:
    """``rest``: requires_grad, backward_hooks, and metadata with bits that change the values."""
    if len(rest) == 3 and isinstance(rest[2], Table) and any(rest[2].values()):
        raise PickleFault("a tensor is stored conjugated or negated, which is not read",
                          is_other_kind=True)  # fmt: skip
    return _tensor(storage, offset, shape, strides)


def _tensor_v3(
    storage: object, offset: object, shape: object, strides: object,
    gradient: object, hooks: object, dtype: object, *rest: Any,
) -> StoredTensor:  # fmt: skip
    tensor = _tensor_v2(storage, offset, shape, strides, gradient, hooks, *rest)
    name = _TORCH_DTYPES.get(dtype.path) if isinstance(dtype, GlobalName) else None
    if name is None:
        raise PickleFault(
            f"a tensor is of {describe(dtype)}, which is not read", is_other_kind=True
        )
    return StoredTensor(tensor.storage, name, tensor.offset, tensor.shape, tensor.strides)


def _parameter(data: object, *rest: object) -> object:
    return data


def _from_type(function: object, kind: object, arguments: object, *rest: object) -> object:
    """A tensor with attributes of its own, which are dropped."""
    known = _KNOWN.get(function.path) if isinstance(function, GlobalName) else None
    if known not in (_tensor, _tensor_v2, _tensor_v3) or not isinstance(arguments, Row):
        return Inert(None)
    return known(*arguments)


def _table(pairs: object = None, *rest: object) -> Table:
    table = Table()
    for pair in pairs if isinstance(pairs, Items | Row) else ():
        if not isinstance(pair, Items | Row) or len(pair) != 2:
            raise PickleFault("an OrderedDict is made of something else than pairs")
        table.put(pair[0], pair[1])
    return table


def _first(value: object = None) -> object:
    return value


_KNOWN: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _first,
    "collections.OrderedDict": _table,
    "collections.defaultdict": lambda *_: Table(),
    "builtins.dict": lambda *_: Table(),
}
