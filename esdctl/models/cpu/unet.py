"""A U-Net for prediction alone on a CPU: the same tensors under layers that do less work.

diffusers' own forward pass stays; its blocks of attention and of convolutions are exchanged for
those of inference_layers.py, and its linear layers for oneDNN's. No result changes by more than the
order of its sums.
"""

import copy
from itertools import chain

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from esdctl.models.cpu.layers import Halved, ResidualBlock, Transformer
from esdctl.models.cpu.onednn import Linear, has_onednn
from esdctl.models.frozen_layers import FrozenLinear

_EXCHANGED = (Transformer2DModel, ResnetBlock2D)


def inference_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A second tree of modules on the tensors of the first, for ``torch.inference_mode``.

    Args:
        unet: stays as it is. Its tensors are read where they are: a change of theirs changes both,
            but for the keys and values of prompts that were asked for before.

    Returns:
        The faster U-Net; ``unet`` itself where there is none: on another device than an x86 CPU,
        in 16 bits, with layers that are stored otherwise, or with other blocks than Stable
        Diffusion's.
    """
    if not _suits(unet):
        return unet
    exchanged = (module for module in unet.modules() if isinstance(module, _EXCHANGED))
    shared = {id(each): each for each in chain(unet.parameters(), unet.buffers(), exchanged)}
    twin: UNet2DConditionModel = copy.deepcopy(unet, shared)
    _exchange(twin)
    _halve(twin)
    return twin


def _suits(unet: UNet2DConditionModel) -> bool:
    is_fp32 = all(p.device.type == "cpu" and p.dtype == torch.float32 for p in unet.parameters())
    is_unet = isinstance(unet, UNet2DConditionModel)
    return is_unet and has_onednn() and is_fp32 and all(map(_is_known, unet.modules()))


def _is_known(module: nn.Module) -> bool:
    """Whether a block, if it is one, has nothing but what its fast form computes."""
    if isinstance(module, FrozenLinear):
        return False
    if isinstance(module, Attention):
        more = (module.group_norm, module.norm_cross, module.norm_q, module.spatial_norm)
        has_more = any(more) or module.to_q.bias is not None
        return not has_more and module.rescale_output_factor == 1.0
    if isinstance(module, Transformer2DModel):
        return bool(module.is_input_continuous)
    if isinstance(module, BasicTransformerBlock):
        return (
            module.use_layer_norm
            and module.activation_fn == "geglu"
            and module.pos_embed is None
            and module.attn2 is not None
            and not module.only_cross_attention
        )
    if isinstance(module, ResnetBlock2D):
        return (
            module.time_embedding_norm == "default"
            and module.output_scale_factor == 1.0
            and isinstance(module.nonlinearity, nn.SiLU)
            and not (module.up or module.down or module.skip_time_act)
        )
    return True


def _exchange(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, Transformer2DModel):
            setattr(module, name, Transformer(child))
        elif isinstance(child, ResnetBlock2D):
            setattr(module, name, ResidualBlock(child))
        elif type(child) is nn.Linear:
            setattr(module, name, Linear(child))
        else:
            _exchange(child)


def _halve(unet: UNet2DConditionModel) -> None:
    """Let the layers before the first prompt be asked once where guidance asks twice."""
    first = unet.down_blocks[0]
    unet.conv_in = Halved(unet.conv_in)
    first.resnets[0] = Halved(first.resnets[0])
    for transformer in getattr(first, "attentions", [])[:1]:
        transformer.enter = Halved(transformer.enter)
