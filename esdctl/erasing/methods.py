"""``--method``: a closed-form edit, ESD, or an edit that ESD goes on from. Loads no torch.

A method is a name for ``warm_start`` and whether there are pairs to train on, which say the same
and decide what is done.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from esdctl.settings.resolve import Layer

Method = Literal["edit", "esd", "edit+esd"]
METHODS: tuple[Method, ...] = get_args(Method)
_SAYS: Mapping[Method, Mapping[str, object]] = {
    "edit": {"warm_start": True, "pairs": 0},
    "esd": {"warm_start": False},
    "edit+esd": {"warm_start": True},
}
LENGTHS = ("pairs", "iterations")
# What an edit alone moves, and what it leaves to be asked for: a sheet of pictures takes longer.
_DEFAULTS_OF_EDIT: Mapping[str, object] = {"train_method": "esd-x-strict", "contact_sheet": False}


def method_of(warm_start: bool, length: int) -> Method:
    """The method that two settings come to; the length is in pairs or in steps."""
    if not warm_start:
        return "esd"
    return "edit+esd" if length else "edit"


def with_method(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with what the strongest method in them stands for.

    What a layer names beside its method stays, and is checked against it. What an edit moves by
    default is stronger than a preset, and weaker than what anybody named.

    Args:
        layers: the strongest last.
    """
    named = [index for index, layer in enumerate(layers) if layer.values.get("method") in METHODS]
    if not named:
        return list(layers)
    last = named[-1]
    method: Method = layers[last].values["method"]  # type: ignore[assignment]
    implied = dict(_SAYS[method])
    if any(layers[last].values.get(length) is not None for length in LENGTHS):
        implied.pop("pairs", None)
    found = list(layers)
    found[last] = Layer(layers[last].origin, {**implied, **layers[last].values})
    if method == "edit":
        first = next(
            (i for i, layer in enumerate(layers) if not layer.origin.startswith("preset")), last
        )
        defaults = {**_DEFAULTS_OF_EDIT}
        if not layers[0].origin.startswith("preset pocket"):
            defaults["retain_all"] = False  # over a thousand prompts; the corpus is read once
        found.insert(min(first, last), Layer("method edit", defaults))
    return found
