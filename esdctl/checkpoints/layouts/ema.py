"""The moving average (EMA) of a U-Net in a CompVis checkpoint: left aside, or used when alone.

LDM stores ``model.diffusion_model.input_blocks.0.0.weight`` once more, its average over training,
as ``model_ema.diffusion_modelinput_blocks00weight``. Where both are there the former is the model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from esdctl.checkpoints.tensor_file import TensorFile
from esdctl.checkpoints.tensor_info import TensorInfo
from esdctl.models.families.tensor_names import LDM_EMA_UNET, LDM_UNET

# The modules' names in a U-Net, longest first where one begins another; a number follows some.
_WORDS = re.compile(
    r"(?P<block>(?:input|output)_blocks)(?P<at>\d+)(?P<module>\d)|"
    r"middle_block\d|label_emb\d|time_embed\d|in_layers\d|out_layers\d|emb_layers\d|"
    r"skip_connection|transformer_blocks\d+|attn[12]|to_q|to_k|to_v|to_out0|"
    r"proj_in|proj_out|proj|norm[123]?|ff|net\d|conv|op|out\d|weight|bias|\d"
)
_SPLIT = re.compile(r"attn\d|norm\d?|[a-z_]+|\d+")


@dataclass(frozen=True, eq=False)
class EmaFile:
    """A checkpoint whose averaged U-Net stands in for the U-Net that it lacks.

    Args:
        file: the checkpoint.
        stored: LDM name -> the name in the file.
    """

    file: TensorFile
    stored: Mapping[str, str]

    @property
    def path(self) -> Path:
        return self.file.path

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        return {name: self.file.infos[stored] for name, stored in self.stored.items()}

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.file.metadata

    def read(self, name: str) -> torch.Tensor:
        """One tensor by its LDM name."""
        return self.file.read(self.stored.get(name, name))


def with_ema_as_unet(file: TensorFile) -> TensorFile:
    """Spell averaged weights as the U-Net's own, if the checkpoint has no other U-Net."""
    if any(name.startswith(LDM_UNET) for name in file.infos):
        return file
    stored = {dotted_name(name): name for name in file.infos}
    return EmaFile(file, stored) if stored.keys() != file.infos.keys() else file


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
