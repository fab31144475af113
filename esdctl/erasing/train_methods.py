"""Which parameters each train method moves, in either layout. Loads no torch.

The rules of U-Nets are stated once, in CompVis' (LDM's) names; diffusers' are translated by the key
map. How many tensors a method selects in a full-size U-Net (the tests state the parameters, too):

    method             SD 1.x, 2.x   SDXL
    full                       686   1680
    notime                     678   1672
    noxattn                    598   1322
    esd-all                    468   1122
    esd-u                      388    772
    xattn, esd-x                80    350
    selfattn                    80    350
    esd-x-strict                32    140
    selflayer                   10     60
    xlayer                      10      0   SDXL has no attention at that place

A transformer has no cross-attention: text and picture meet in one attention. Its family names its
groups by what they are, and the authors' methods where they have some (``Denoiser.groups``).
"""

from collections.abc import Callable, Iterable

from esdctl.checkpoints.layouts.key_map import unet_to_compvis
from esdctl.errors import UsageError
from esdctl.models.families.family import Family
from esdctl.models.families.registry import all_families
from esdctl.models.families.tensor_names import LDM_BLOCKS, LDM_UNET
from esdctl.names import did_you_mean

Rule = Callable[[str], bool]

_LDM_NORMS = (".in_layers.0.", ".out_layers.0.")  # group norms without "norm" in their names


def _is_head(name: str) -> bool:
    return name.startswith("out.")


def _is_norm(name: str) -> bool:
    """Group and layer normalisations."""
    return "norm" in name or name.startswith("out.0.") or any(part in name for part in _LDM_NORMS)


RULES: dict[str, Rule] = {
    "full": lambda name: True,
    "xattn": lambda name: "attn2" in name,
    "selfattn": lambda name: "attn1" in name,
    "noxattn": lambda name: not _is_head(name) and "attn2" not in name and "time_embed" not in name,
    "notime": lambda name: not _is_head(name) and "time_embed" not in name,
    "xlayer": lambda name: (
        "attn2" in name and name.startswith(("output_blocks.6.", "output_blocks.8."))
    ),
    "selflayer": lambda name: (
        "attn1" in name and name.startswith(("input_blocks.4.", "input_blocks.7."))
    ),
    "esd-x": lambda name: "attn2" in name and not _is_norm(name),
    "esd-x-strict": lambda name: "attn2" in name and (".to_k." in name or ".to_v." in name),
    "esd-u": lambda name: "attn2" not in name and not _is_norm(name),
    "esd-all": lambda name: not _is_norm(name),
}
_SPELLINGS = {"esd-x": "esd-x", "esdx": "esd-x", "esdu": "esd-u", "esdall": "esd-all"}


def canonical_method(name: str) -> str:
    """A method by any of its spellings (``ESD-X``, ``esd_x``, ``esdx``).

    Raises:
        ValueError: there is no such method; says which there are.
    """
    spelled = name.strip().lower().replace("_", "-")
    spelled = _SPELLINGS.get(spelled, spelled)
    known = all_methods()
    if spelled in known:
        return spelled
    raise ValueError(f"no such train method; {did_you_mean(spelled, known)}")


def all_methods() -> tuple[str, ...]:
    """The methods of U-Nets, then those that only transformers have."""
    groups = (group for family in all_families() for group in family.denoiser.groups)
    return tuple(dict.fromkeys([*RULES, *groups]))


def methods_of(family: Family) -> tuple[str, ...]:
    """The methods that mean something in a family."""
    return tuple(family.denoiser.groups or RULES)


def check_method(method: str, family: Family) -> None:
    """Refuse a method that means nothing in a family.

    Raises:
        UsageError: it does not; says which do.
    """
    if method not in methods_of(family):
        raise UsageError(
            f"--train-method {method} means nothing in {family.title}",
            f"use one of {', '.join(methods_of(family))}",
        )


def select(method: str, names: Iterable[str], family: Family) -> list[str]:
    """The parameters that a method moves.

    Args:
        method: a canonical name.
        names: all of the denoiser's parameter names, in diffusers' layout; a U-Net's also in
            CompVis' (with or without the prefix ``model.diffusion_model.``).
        family: the model's.

    Returns:
        The selected names, as given and in their order.

    Raises:
        InputError: a name is of neither layout.
        UsageError: the method means nothing in this family.
    """
    check_method(method, family)
    groups = family.denoiser.groups
    if groups:
        return [name for name in names if groups[method](name)]
    ldm = _ldm_names(list(names))
    selected = [name for name, place in ldm.items() if RULES[method](place)]
    narrower = family.narrower_groups.get(method)
    return [name for name in selected if narrower is None or narrower(ldm[name])]


def moves_keys_and_values(method: str) -> bool:
    """Whether a method moves those of a U-Net's cross-attention, at the least in some blocks."""
    if method not in RULES:
        return False
    places = ("input_blocks.1.1", "output_blocks.6.1")
    return any(RULES[method](f"{place}.transformer_blocks.0.attn2.to_k.weight") for place in places)


def _ldm_names(names: list[str]) -> dict[str, str]:
    """Each name -> its CompVis name without the prefix."""
    bare = [name.removeprefix(LDM_UNET) for name in names]
    if any(name.startswith(LDM_BLOCKS) for name in bare):
        return dict(zip(names, bare, strict=True))
    return unet_to_compvis(names)
