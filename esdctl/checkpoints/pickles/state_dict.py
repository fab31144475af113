"""Where the weights lie in what was pickled: bare, under ``state_dict`` or under ``model``."""

from collections.abc import Sequence
from dataclasses import dataclass

from esdctl.checkpoints.pickles.stored_tensor import StoredTensor
from esdctl.checkpoints.pickles.values import Inert, Items, PickleFault, Row, Table, describe
from esdctl.untrusted_text import shown

# Lightning and CompVis; diffusers' and other trainers; judges of pictures.
_KEYS = ("state_dict", "model", "model_state_dict")
_KEPT = ("global_step", "epoch", "esdctl")
_OTHERS = {
    "param_groups": "the state of an optimizer", "optimizer": "the state of an optimizer",
    "layer_structure": "a hypernetwork",
}  # fmt: skip
_NAMED = 40  # of what was dropped, by name


@dataclass(frozen=True)
class StateDict:
    """The weights, and what lay beside them.

    Args:
        tensors: by name.
        metadata: ``global_step``, ``epoch`` and ``esdctl`` where they are there, and ``dropped``.
    """

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


def find_state_dict(root: object) -> StateDict:
    """Find the weights in a pickle's value.

    Raises:
        PickleFault: there are none.
    """
    dropped: list[str] = []
    metadata: dict[str, str] = {}
    prefix = ""
    while isinstance(root, Table) and (key := _way_down(root)):
        metadata = _kept(root) | metadata
        dropped += [prefix + name for name in root if name != key and name not in metadata]
        prefix += f"{key}."
        root = root[key]
    if not isinstance(root, Table):
        raise PickleFault(f"it holds {_what(root)}, not a table of weights", is_other_kind=True)
    metadata = _kept(root) | metadata
    tensors: dict[str, StoredTensor] = {}
    for name, value in root.items():
        if isinstance(value, StoredTensor):
            tensors[name] = value
        elif isinstance(value, Inert) and str(value.made_by).startswith("torch._utils._rebuild_"):
            fault = f"{shown(name)} is a tensor of a kind that is not read"
            raise PickleFault(f"{fault} ({value.made_by})", is_other_kind=True)
        elif isinstance(value, Table) and _holds_tensors(value):  # ESD's authors: a table a module
            tensors |= {f"{name}.{inner}": tensor for inner, tensor in value.items()}
        elif name not in metadata:
            dropped.append(prefix + name)
    if not tensors:
        raise PickleFault(f"it holds no weights{_instead(root)}", is_other_kind=True)
    if dropped:
        metadata["dropped"] = listing(dropped)
    return StateDict(tensors, metadata)


def _way_down(table: Table) -> str:
    """The key under which the weights lie; empty when they lie here or nowhere.

    Beside the usual keys it is any word that alone holds tensors, such as ``unet``.
    """
    usual = next((key for key in _KEYS if isinstance(table.get(key), Table) and table[key]), "")
    below = [
        key for key, value in table.items() if isinstance(value, Table) and _holds_tensors(value)
    ]
    is_alone = len(below) == 1 and "." not in below[0]
    is_bare = any(isinstance(value, StoredTensor) for value in table.values())
    return usual or (below[0] if is_alone and not is_bare else "")


def _holds_tensors(table: Table) -> bool:
    """Whether a table holds tensors, and nothing else."""
    return bool(table) and all(isinstance(value, StoredTensor) for value in table.values())


def _kept(table: Table) -> dict[str, str]:
    """Plain facts that later readers want."""
    values = {key: table[key] for key in _KEPT if key in table}
    return {key: str(value) for key, value in values.items() if type(value) in (int, str)}


def _what(value: object) -> str:
    if isinstance(value, StoredTensor):
        return "a single tensor"
    if isinstance(value, Inert):
        return f"a pickled object ({describe(value)})"
    if isinstance(value, Items | Row):
        return "a list" if isinstance(value, Items) else "a tuple"
    return f"the value {describe(value)}"


def _instead(table: Table) -> str:
    """What lies where the weights should: a whole pickled model, mostly."""
    other = next((what for key, what in _OTHERS.items() if key in table), None)
    if other is not None:
        return f": it is {other}"
    found = next((key for key in _KEYS if isinstance(table.get(key), Inert)), "")
    return f": {found!r} is a pickled object ({describe(table[found])})" if found else ""


def listing(names: Sequence[str]) -> str:
    """The first names, cut and escaped, and how many more there are."""
    first = [shown(name)[1:-1] for name in names[:_NAMED]]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
