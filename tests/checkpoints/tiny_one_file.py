"""Files of one model as Stability, Black Forest Labs and ComfyUI write them, from tiny folders."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.layouts.key_map import to_compvis

Tensors = dict[str, torch.Tensor]
UNET = "model.diffusion_model."
CLIP_L, CLIP_G, T5 = (
    f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl")
)
_STREAMS = (("x_block", "to_{}", "to_out.0"), ("context_block", "add_{}_proj", "to_add_out"))
_FLUX_STREAMS = (
    ("img", "norm1", "to_{}", "norm_{}", "to_out.0", "ff"),
    ("txt", "norm1_context", "add_{}_proj", "norm_added_{}", "to_add_out", "ff_context"),
)


def part_of(folder: Path, part: str) -> Tensors:
    """A part's tensors, as diffusers or transformers wrote them."""
    is_text = part.startswith("text_encoder")
    name = "model.safetensors" if is_text else "diffusion_pytorch_model.safetensors"
    return load_file(folder / part / name)


def stability(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """SD 3's transformer under Stability's names."""
    made = {
        "pos_embed": tensors["pos_embed.pos_embed"],
        **_linear(tensors, "pos_embed.proj", "x_embedder.proj"),
        **_linear(tensors, "context_embedder", "context_embedder"),
        **_linear(tensors, "proj_out", "final_layer.linear"),
        **_swapped(tensors, "norm_out.linear", "final_layer.adaLN_modulation.1"),
    }
    for number in (0, 2):
        embedder = f"linear_{1 + number // 2}"
        for ours, theirs in (("timestep", "t_embedder"), ("text", "y_embedder")):
            source = f"time_text_embed.{ours}_embedder.{embedder}"
            made |= _linear(tensors, source, f"{theirs}.mlp.{number}")
    last = max(
        int(name.split(".")[1]) for name in tensors if name.startswith("transformer_blocks.")
    )
    for number in range(last + 1):
        made |= _joint_block(tensors, number, last)
    return made


def _joint_block(tensors: Mapping[str, torch.Tensor], number: int, last: int) -> Tensors:
    block, theirs = f"transformer_blocks.{number}", f"joint_blocks.{number}"
    made = _linear(tensors, f"{block}.norm1.linear", f"{theirs}.x_block.adaLN_modulation.1")
    move = _swapped if number == last else _linear
    text_norm = f"{theirs}.context_block.adaLN_modulation.1"
    made |= move(tensors, f"{block}.norm1_context.linear", text_norm)
    for stream, projection, out in _STREAMS:
        for attention in ("attn", "attn2"):
            names = [f"{block}.{attention}.{projection.format(letter)}" for letter in "qkv"]
            if f"{names[0]}.weight" in tensors:
                made |= _fused(tensors, names, f"{theirs}.{stream}.{attention}.qkv")
                source = f"{block}.{attention}.{out}"
                made |= _linear(tensors, source, f"{theirs}.{stream}.{attention}.proj")
            for letter in "qk":
                added = "added_" if stream == "context_block" else ""
                source = f"{block}.{attention}.norm_{added}{letter}"
                made |= _linear(tensors, source, f"{theirs}.{stream}.{attention}.ln_{letter}")
        layers = "ff" if stream == "x_block" else "ff_context"
        made |= _linear(tensors, f"{block}.{layers}.net.0.proj", f"{theirs}.{stream}.mlp.fc1")
        made |= _linear(tensors, f"{block}.{layers}.net.2", f"{theirs}.{stream}.mlp.fc2")
    return made


def black_forest(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """FLUX.1's transformer under Black Forest Labs' names."""
    made = {
        **_linear(tensors, "x_embedder", "img_in"),
        **_linear(tensors, "context_embedder", "txt_in"),
        **_linear(tensors, "proj_out", "final_layer.linear"),
        **_swapped(tensors, "norm_out.linear", "final_layer.adaLN_modulation.1"),
    }
    for ours, theirs in (("timestep", "time"), ("text", "vector"), ("guidance", "guidance")):
        for number, layer in ((1, "in_layer"), (2, "out_layer")):
            source = f"time_text_embed.{ours}_embedder.linear_{number}"
            made |= _linear(tensors, source, f"{theirs}_in.{layer}")
    for name in tensors:
        kind, number, *_ = name.split(".")
        if kind == "transformer_blocks" and f"double_blocks.{number}.img_mod.lin.bias" not in made:
            made |= _double_block(tensors, f"{kind}.{number}", f"double_blocks.{number}")
        if (
            kind == "single_transformer_blocks"
            and f"single_blocks.{number}.linear2.bias" not in made
        ):
            made |= _single_block(tensors, f"{kind}.{number}", f"single_blocks.{number}")
    return made


def _double_block(tensors: Mapping[str, torch.Tensor], ours: str, theirs: str) -> Tensors:
    made: Tensors = {}
    for stream, norm, projection, head_norm, out, layers in _FLUX_STREAMS:
        names = [f"{ours}.attn.{projection.format(letter)}" for letter in "qkv"]
        made |= _fused(tensors, names, f"{theirs}.{stream}_attn.qkv")
        made |= _linear(tensors, f"{ours}.{norm}.linear", f"{theirs}.{stream}_mod.lin")
        made |= _linear(tensors, f"{ours}.attn.{out}", f"{theirs}.{stream}_attn.proj")
        made |= _linear(tensors, f"{ours}.{layers}.net.0.proj", f"{theirs}.{stream}_mlp.0")
        made |= _linear(tensors, f"{ours}.{layers}.net.2", f"{theirs}.{stream}_mlp.2")
        for letter, word in (("q", "query"), ("k", "key")):
            scale = tensors[f"{ours}.attn.{head_norm.format(letter)}.weight"]
            made[f"{theirs}.{stream}_attn.norm.{word}_norm.scale"] = scale
    return made


def _single_block(tensors: Mapping[str, torch.Tensor], ours: str, theirs: str) -> Tensors:
    names = [*(f"{ours}.attn.to_{letter}" for letter in "qkv"), f"{ours}.proj_mlp"]
    return {
        **_linear(tensors, f"{ours}.norm.linear", f"{theirs}.modulation.lin"),
        **_fused(tensors, names, f"{theirs}.linear1"),
        **_linear(tensors, f"{ours}.proj_out", f"{theirs}.linear2"),
        f"{theirs}.norm.query_norm.scale": tensors[f"{ours}.attn.norm_q.weight"],
        f"{theirs}.norm.key_norm.scale": tensors[f"{ours}.attn.norm_k.weight"],
    }


def black_forest_2(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """FLUX.2's transformer under Black Forest Labs' names."""
    made = {
        **_linear(tensors, "x_embedder", "img_in"),
        **_linear(tensors, "context_embedder", "txt_in"),
        **_linear(tensors, "proj_out", "final_layer.linear"),
        **_swapped(tensors, "norm_out.linear", "final_layer.adaLN_modulation.1"),
    }
    for number, layer in ((1, "in_layer"), (2, "out_layer")):
        source = f"time_guidance_embed.timestep_embedder.linear_{number}"
        made |= _linear(tensors, source, f"time_in.{layer}")
    for kind in ("double_stream_modulation_img", "double_stream_modulation_txt",
                 "single_stream_modulation"):  # fmt: skip
        made |= _linear(tensors, f"{kind}.linear", f"{kind}.lin")
    for block in sorted({name.split(".")[1] for name in tensors if "transformer_blocks" in name}):
        double, single = (f"{kind}transformer_blocks.{block}" for kind in ("", "single_"))
        if f"{double}.attn.to_q.weight" in tensors:
            made |= _double_block_2(tensors, double, f"double_blocks.{block}")
        if f"{single}.attn.to_out.weight" in tensors:
            theirs = f"single_blocks.{block}"
            made |= _linear(tensors, f"{single}.attn.to_qkv_mlp_proj", f"{theirs}.linear1")
            made |= _linear(tensors, f"{single}.attn.to_out", f"{theirs}.linear2")
            for letter, word in (("q", "query"), ("k", "key")):
                scale = tensors[f"{single}.attn.norm_{letter}.weight"]
                made[f"{theirs}.norm.{word}_norm.scale"] = scale
    return made


def _double_block_2(tensors: Mapping[str, torch.Tensor], ours: str, theirs: str) -> Tensors:
    made: Tensors = {}
    for stream, _, projection, head_norm, out, layers in _FLUX_STREAMS:
        names = [f"{ours}.attn.{projection.format(letter)}" for letter in "qkv"]
        made |= _fused(tensors, names, f"{theirs}.{stream}_attn.qkv")
        made |= _linear(tensors, f"{ours}.attn.{out}", f"{theirs}.{stream}_attn.proj")
        made |= _linear(tensors, f"{ours}.{layers}.linear_in", f"{theirs}.{stream}_mlp.0")
        made |= _linear(tensors, f"{ours}.{layers}.linear_out", f"{theirs}.{stream}_mlp.2")
        for letter, word in (("q", "query"), ("k", "key")):
            scale = tensors[f"{ours}.attn.{head_norm.format(letter)}.weight"]
            made[f"{theirs}.{stream}_attn.norm.{word}_norm.scale"] = scale
    return made


def _linear(tensors: Mapping[str, torch.Tensor], ours: str, theirs: str) -> Tensors:
    """Weight and bias, as far as there are any."""
    ends = [end for end in ("weight", "bias") if f"{ours}.{end}" in tensors]
    return {f"{theirs}.{end}": tensors[f"{ours}.{end}"] for end in ends}


def _swapped(tensors: Mapping[str, torch.Tensor], ours: str, theirs: str) -> Tensors:
    found = _linear(tensors, ours, theirs)
    return {name: torch.roll(value, len(value) // 2, dims=0) for name, value in found.items()}


def _fused(tensors: Mapping[str, torch.Tensor], ours: list[str], theirs: str) -> Tensors:
    return {
        f"{theirs}.{end}": torch.cat([tensors[f"{name}.{end}"] for name in ours])
        for end in ("weight", "bias")
        if f"{ours[0]}.{end}" in tensors
    }


def ldm_vae(folder: Path) -> Tensors:
    """The VAE under LDM's names, its attention as convolutions."""
    tensors = part_of(folder, "vae")
    found = to_compvis("vae", tensors)
    return {
        place.name: tensors[name][:, :, None, None] if place.transform == "conv" else tensors[name]
        for name, place in found.items()
    }


def with_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The same tensors, their names below a prefix."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def whole_sd3(folder: Path, has_t5: bool) -> Tensors:
    """All parts in one file, as sd3_medium_incl_clips; CLIP-L's projection is not in it."""
    clip_l = part_of(folder, "text_encoder")
    del clip_l["text_projection.weight"]
    return {
        **with_prefix(UNET, stability(part_of(folder, "transformer"))),
        **with_prefix("first_stage_model.", ldm_vae(folder)),
        **with_prefix(CLIP_L, clip_l),
        **with_prefix(CLIP_G, part_of(folder, "text_encoder_2")),
        **(with_prefix(T5, part_of(folder, "text_encoder_3")) if has_t5 else {}),
    }


def whole_flux(folder: Path) -> Tensors:
    """All parts in one file, as ComfyUI writes them."""
    return {
        **with_prefix(UNET, black_forest(part_of(folder, "transformer"))),
        **with_prefix("vae.", ldm_vae(folder)),
        **with_prefix(f"{CLIP_L}text_model.", part_of(folder, "text_encoder")),
        "text_encoders.clip_l.logit_scale": torch.tensor(4.6052),
        **with_prefix(T5, part_of(folder, "text_encoder_2")),
    }


def written(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Save a file of tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def with_identity(folder: Path) -> Path:
    """Give CLIP-L the projection that Stability's files imply."""
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors["text_projection.weight"] = torch.eye(len(tensors["text_projection.weight"]))
    save_file(tensors, path, {"format": "pt"})
    return folder
