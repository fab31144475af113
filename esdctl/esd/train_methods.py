"""Which parameters of the U-Net each train method moves, in either layout. Loads no torch.

The rules are stated once, in the names of CompVis (LDM); names of diffusers are turned into the
few places of LDM's that the rules look at. Counts for SD 1.x (686 tensors): xattn, selfattn and
esd-x 80, esd-x-strict 32, noxattn 598, esd-u 388, esd-all 468, full 686.
"""

from collections.abc import Callable, Iterable
from difflib import get_close_matches

Rule = Callable[[str], bool]

# diffusers' prefix -> LDM's, only where a rule depends on it (SD 1.x, 2.x: two layers a block)
_PLACES = {
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "up_blocks.2.attentions.0.": "output_blocks.6.1.",
    "up_blocks.2.attentions.2.": "output_blocks.8.1.",
    "down_blocks.1.attentions.0.": "input_blocks.4.1.",
    "down_blocks.2.attentions.0.": "input_blocks.7.1.",
}
_LDM_PREFIX = "model.diffusion_model."
_LDM_NORMS = ("in_layers.0.", "out_layers.0.", "out.0.")


def _is_head(name: str) -> bool:
    return name.startswith("out.")


def _is_norm(name: str) -> bool:
    """Group and layer normalisations, under LDM's names or diffusers'."""
    return "norm" in name or any(f".{part}" in f".{name}" for part in _LDM_NORMS)


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
    if spelled in RULES:
        return spelled
    near = get_close_matches(spelled, RULES, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"no such train method; known: {', '.join(RULES)}{meant}")


def select(method: str, names: Iterable[str]) -> list[str]:
    """The parameters that a method moves.

    Args:
        method: a canonical name, a key of ``RULES``.
        names: the U-Net's parameter names, in CompVis' layout (with or without the prefix
            ``model.diffusion_model.``) or in diffusers'.

    Returns:
        The selected names, as given and in their order.
    """
    rule = RULES[method]
    return [name for name in names if rule(_ldm_place(name))]


def _ldm_place(name: str) -> str:
    name = name.removeprefix(_LDM_PREFIX)
    for prefix, place in _PLACES.items():
        if name.startswith(prefix):
            return place + name.removeprefix(prefix)
    return name
