"""The names that LDM gives to tensors, for checkpoints whose writers spell some of them otherwise.

- LDM stores ``model.diffusion_model.input_blocks.0.0.weight`` once more, its average over training
  (EMA), as ``model_ema.diffusion_modelinput_blocks00weight``. Where both are there the former is
  the model; where the average is alone, it is.
- Black Forest Labs publish FLUX.1's transformer alone, without LDM's prefix; so do some of SD 3's.
- Writers with transformers 5.6 leave out the ``text_model.`` in the names of CLIP's text encoder.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from esdctl.checkpoints.tensor_file import RenamedFile, TensorFile
from esdctl.errors import InputError
from esdctl.models.families.registry import all_families, bare_transformer
from esdctl.models.families.tensor_names import LDM_EMA_UNET, LDM_UNET

_CLIP_MODULES = ("embeddings.", "encoder.", "final_layer_norm.")
_CLIP_PREFIXES = tuple(
    sorted(
        part.prefix
        for family in all_families()
        for part in family.parts.values()
        if part.table == "clip"
    )
)

# The modules' names in a U-Net, longest first where one begins another; a number follows some.
_WORDS = re.compile(
    r"(?P<block>(?:input|output)_blocks)(?P<at>\d+)(?P<module>\d)|"
    r"middle_block\d|label_emb\d|time_embed\d|in_layers\d|out_layers\d|emb_layers\d|"
    r"skip_connection|transformer_blocks\d+|attn[12]|to_q|to_k|to_v|to_out0|"
    r"proj_in|proj_out|proj|norm[123]?|ff|net\d|conv|op|out\d|weight|bias|\d"
)
_SPLIT = re.compile(r"attn\d|norm\d?|[a-z_]+|\d+")


def with_ldm_names(file: TensorFile) -> TensorFile:
    """The same checkpoint under LDM's names; the file itself where they are its own.

    Raises:
        InputError: two tensors would have one name.
    """
    stored = ldm_names(file.infos, file.path)
    return RenamedFile(file, stored) if any(n != s for n, s in stored.items()) else file


def ldm_names(names: Iterable[str], source: Path) -> dict[str, str]:
    """LDM's name of each tensor -> the name that it has in the file.

    Args:
        names: all names in the file.
        source: for the message.

    Raises:
        InputError: two tensors would have one name.
    """
    found = list(names)
    if bare_transformer(found) is not None:
        return {f"{LDM_UNET}{name}": name for name in found}
    has_unet = any(name.startswith(LDM_UNET) for name in found)
    stored: dict[str, str] = {}
    for name in found:
        spelled = _with_text_model(name if has_unet else dotted_name(name))
        if spelled in stored:
            raise InputError(
                f"{source} holds {spelled} twice, also as {min(name, stored[spelled], key=len)}",
                "get the checkpoint again",
            )
        stored[spelled] = name
    return stored


def is_checkpoint(names: Iterable[str]) -> bool:
    """Whether a file's tensors are a model's: a U-Net or transformer under LDM's prefix, or a
    transformer without it."""
    found = list(names)
    has_prefix = any(name.startswith(LDM_UNET) for name in found)
    return has_prefix or bare_transformer(found) is not None


def _with_text_model(name: str) -> str:
    for prefix in _CLIP_PREFIXES:
        rest = name.removeprefix(prefix)
        if rest != name and rest.startswith(_CLIP_MODULES):
            return f"{prefix}text_model.{rest}"
    return name


def dotted_name(name: str) -> str:
    """The U-Net tensor whose average this is; any other name stays as it is."""
    rest = name.removeprefix(LDM_EMA_UNET)
    if rest == name:
        return name
    words = []
    while rest:
        found = _WORDS.match(rest)
        if found is None:
            return name
        if found["block"]:
            words += [found["block"], found["at"], found["module"]]
        else:
            words += _SPLIT.findall(found[0])
        rest = rest[found.end() :]
    return LDM_UNET + ".".join(words)
