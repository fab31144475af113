"""A tensor that claims a CUDA device and computes on the CPU; refuses what CUDA would refuse.

With REHEARSAL_META=1 it has no values, so that models of full size take moments: shapes, memory,
launches and copies are the same.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from tests.rehearsal.device.counts import COUNTS
from tests.rehearsal.device.memory import DEVICES, MEMORY

aten = torch.ops.aten
CPU = torch.device("cpu")
META = os.environ.get("REHEARSAL_META") == "1"

# Views and metadata launch nothing.
_FREE = {
    "_reshape_alias", "_unsafe_view", "alias", "as_strided", "chunk", "detach", "diagonal", "empty",
    "empty_like", "empty_strided", "expand", "expand_as", "flatten", "is_pinned", "is_same_size",
    "lift_fresh", "movedim", "narrow", "new_empty", "new_empty_strided", "permute", "record_stream",
    "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "swapaxes", "t",
    "transpose", "unbind", "unflatten", "unfold", "unsqueeze", "view",
}  # fmt: skip
# The host has to know the values.
_READ = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
# TensorIterator's operators take a CPU tensor without dimensions as a number.
_TAKE_NUMBERS = {
    "add", "addcdiv", "addcmul", "clamp", "clamp_max", "clamp_min", "copy", "div", "eq", "fill",
    "floor_divide", "fmod", "ge", "gt", "le", "lerp", "logical_and", "logical_or", "lt",
    "masked_fill", "maximum", "minimum", "mul", "ne", "pow", "remainder", "rsub", "sub", "where",
    "true_divide", "_foreach_add", "_foreach_div", "_foreach_mul", "_foreach_sub",
    "_foreach_maximum", "_amp_update_scale",
}  # fmt: skip


class CudaTensor(torch.Tensor):
    """``values`` are where they really are: on the CPU, or nowhere."""

    values: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type, values: torch.Tensor, device: torch.device) -> "CudaTensor":
        with torch.inference_mode(values.is_inference()):
            made: CudaTensor = torch.Tensor._make_wrapper_subclass(
                cls, values.shape, strides=values.stride(), dtype=values.dtype, device=device,
                storage_offset=values.storage_offset(), requires_grad=False,
            )  # fmt: skip
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return run(func, args, kwargs or {})

    def numpy(self, *unused: Any, **named: Any) -> Any:
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy "
            "the tensor to host memory first."
        )

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def untyped_storage(self) -> Any:
        return self.values.untyped_storage()

    def data_ptr(self) -> int:
        return self.values.data_ptr()

    def __repr__(self, **unused: Any) -> str:
        return f"{self.values!r} on {self.device}"

    def __reduce_ex__(self, protocol: Any) -> Any:
        COUNTS.wait("pickle")
        host = self.detach().cpu()
        is_parameter = isinstance(self, torch.nn.Parameter)
        return (torch.nn.Parameter(host) if is_parameter else host).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            copied = self.detach().clone()
            is_parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = (
                torch.nn.Parameter(copied, self.requires_grad) if is_parameter else copied
            )
        return memo[id(self)]


def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """An operator: what CUDA would refuse is refused, the rest is counted and computed."""
    if func is aten.scaled_dot_product_attention.default:
        return attention(*args, **kwargs)
    if _is_made_of_others(func):
        return func.decompose(*args, **kwargs)
    name = func.overloadpacket.__name__
    flat, _ = tree_flatten((args, dict(kwargs)))
    tensors = [each for each in flat if isinstance(each, torch.Tensor)]
    where = _place(func, name, args, kwargs, flat, tensors)
    is_there = where.type == "cuda" or any(isinstance(each, CudaTensor) for each in tensors)
    if is_there:
        _count(name, args, kwargs, where)
    computed = _values(func, name, args, kwargs, where)
    known = {id(each.values): each for each in tensors if isinstance(each, CudaTensor)}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, CudaTensor):
            return value
        if id(value) in known:
            return known[id(value)]  # changed in place
        if where.type != "cuda":
            return value
        MEMORY.take(value, where.index)
        return CudaTensor(value, where)

    return tree_map(wrapped, computed)


def cuda_device(value: Any) -> torch.device:
    """With its index.

    Raises:
        AcceleratorError: there are not so many.
    """
    device = torch.device(value)
    if device.type != "cuda":
        return device
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= DEVICES:
        raise torch.AcceleratorError("CUDA error: invalid device ordinal")
    return torch.device("cuda", index)


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:  # fmt: skip
    """One fused kernel, as on CUDA; with the types that it insists on."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        nothing = torch.zeros_like(attn_mask, dtype=q.dtype)
        attn_mask = nothing.masked_fill_(attn_mask.logical_not(), float("-inf"))
    kinds = {each.dtype for each in (q, k, v, attn_mask) if each is not None}
    if len(kinds) > 1:
        raise RuntimeError(f"Expected query, key, value and mask to have one dtype, got {kinds}")
    fused = aten._scaled_dot_product_flash_attention_for_cpu
    mixed: torch.Tensor = fused(q, k, v, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return mixed


def _is_made_of_others(func: Any) -> bool:
    """Whether CUDA has no kernel of its own for it either."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CPU")
    return func._can_decompose() and not has_kernel


def _place(
    func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], flat: Sequence[Any],
    tensors: Sequence[torch.Tensor],
) -> torch.device:  # fmt: skip
    """Where the result is."""
    devices = {each.device for each in tensors if isinstance(each, CudaTensor)}
    asked = kwargs.get("device")
    place = cuda_device(asked) if asked is not None else next(iter(devices), CPU)
    if any(isinstance(each, torch.Generator) for each in flat) and place.type == "cuda":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    if name in ("_to_copy", "copy_"):
        return cuda_device(asked) if asked is not None else args[0].device
    strangers = [] if not devices else _strangers(name, args, tensors)
    if len(devices) > 1 or strangers:
        named = sorted({str(each) for each in devices} | {"cpu" for _ in strangers})
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(named)}! ({func})"
        )
    return place


def _strangers(
    name: str, args: Sequence[Any], tensors: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """CPU tensors that the kernel refuses beside CUDA ones."""
    cpu = [each for each in tensors if not isinstance(each, CudaTensor)]
    if name in _INDEXED:
        if not isinstance(args[0], CudaTensor):
            return cpu
        return [each for each in args[2:3] if not isinstance(each, CudaTensor) and each.dim() > 0]
    if name.rstrip("_") in _TAKE_NUMBERS:
        return [each for each in cpu if each.dim() > 0]
    return cpu


def _count(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], where: torch.device) -> None:
    if name in ("_to_copy", "copy_") and _count_copy(name, args, kwargs, where):
        return
    if name in _READ:
        COUNTS.wait(name.strip("_"))
    elif name in _INDEXED:
        for each in args[1]:
            if isinstance(each, torch.Tensor) and each.dtype == torch.bool:
                COUNTS.wait("a mask's size")
            elif isinstance(each, torch.Tensor) and not isinstance(each, CudaTensor):
                COUNTS.copy("index to device", each.numel() * each.element_size(), True)
    if name not in _FREE:
        launched = COUNTS.launch(name)
        if launched == MEMORY.fail_at:
            raise MEMORY.error(20 * 2**30, where.index or 0)


def _count_copy(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], where: torch.device
) -> bool:
    """Whether it goes between two devices, or to or from the host; else it is a kernel."""
    source = args[1] if name == "copy_" else args[0]
    if source.device == where:
        return False
    size = source.numel() * source.element_size()
    is_asynchronous = bool(kwargs.get("non_blocking") or (name == "copy_" and args[2:3] == (True,)))
    if source.device.type == where.type == "cuda":
        COUNTS.copy("device to device", size, False)
    elif where.type == "cuda":
        # From pageable memory even an asynchronous copy keeps the host until it is staged.
        COUNTS.copy("to device", size, not (is_asynchronous and source.is_pinned()))
    else:
        is_pinned = name == "copy_" and args[0].is_pinned()
        COUNTS.copy("to host", size, not (is_asynchronous and is_pinned))
    return True


def _values(
    func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], where: torch.device
) -> Any:
    """The operator on what is behind the tensors."""
    if META and (answer := _without_values(name, args, kwargs, where)) is not None:
        return answer
    place = torch.device("meta") if META else CPU
    named = dict(kwargs)
    if where.type == "cuda" and named.get("device") is not None:
        named["device"] = place
    named.pop("pin_memory", None)

    def behind(value: Any) -> Any:
        if isinstance(value, CudaTensor):
            return value.values
        if META and isinstance(value, torch.Tensor) and value.device == CPU:
            return value.to("meta")
        return value

    given, named = tree_map(behind, (_laid_out(name, args), named))
    return func(*given, **named)


def _without_values(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], where: torch.device
) -> Any:
    """What the host would read, where there is nothing to read; else None."""
    if name == "_local_scalar_dense":
        return {torch.bool: True}.get(args[0].dtype, args[0].dtype.is_floating_point or 1)
    if name == "equal":
        return True
    if name == "copy_" and where.type == "cpu":
        return args[0]
    if name == "_to_copy" and where.type == "cpu":
        return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
    return None


def _laid_out(name: str, args: Sequence[Any]) -> Sequence[Any]:
    """Inputs in the layouts that CUDA's kernels give and take."""
    if name == "native_group_norm" and isinstance(args[0], CudaTensor):
        return (args[0].values.contiguous(), *args[1:])
    if name == "convolution" and isinstance(args[0], CudaTensor) and args[0].dim() == 4:
        weight, last = args[1].values, torch.channels_last
        if weight.is_contiguous(memory_format=last) and not weight.is_contiguous():
            return (args[0].values.contiguous(memory_format=last), *args[1:])
    return args
