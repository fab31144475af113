"""The configs of a file's parts whose denoiser is a transformer, told from names and shapes alone.

Such a file may hold the transformer alone, with or without its prefix, or all parts of a model.
"""

import re
from pathlib import Path
from typing import Any

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.part_shapes import (
    Shapes,
    count_of,
    shape_of,
    text_config,
    vae_config,
)
from esdctl.errors import InputError
from esdctl.models.families.family import Config, Family, Part, TextEncoder
from esdctl.settings.prediction import FLOW

_QUANTISED = re.compile(
    r".*\.(absmax|quant_map|nested_absmax|quant_state\..+|scale_weight|scale_input|weight_scale"
    r"|input_scale|qweight|qzeros|comfy_quant)|(.*\.)?scaled_fp8"
)
_SUPPLY = "a pipeline folder that supplies them (--pipeline FOLDER) makes a model of it"


def held_architecture(
    infos: Shapes, source: Path, family: Family, said: Architecture | None = None
) -> Architecture:
    """What a file holds: the architecture of those parts of the model that it has.

    Args:
        infos: its tensors' shapes, under Stability's or Black Forest Labs' names.
        source: the file, for messages.
        family: whose transformer it holds.
        said: what the file's own metadata say; shapes tell the rest.

    Raises:
        InputError: tensors are missing, or it is made for another task.
    """
    assert family.one_file is not None
    _refuse_quantised(infos, source)
    configs: dict[Part, Config] = {}
    for part, kind in family.parts.items():
        if said is not None and part in said.configs:
            configs[part] = said.configs[part]
        elif kind.prefix and any(name.startswith(kind.prefix) for name in infos):
            configs[part] = _config(infos, source, family, part)
    scheduler = {
        **family.process.scheduler,
        **family.one_file.scheduler(configs[family.denoiser.part]),
    }
    missing = [p for p, kind in family.parts.items() if p not in configs and not kind.is_optional]
    notes = (f"it holds no {', no '.join(missing)}: {_SUPPLY}",) if missing else ()
    return Architecture(family, FLOW, configs, scheduler if said is None else said.scheduler, notes)


def _config(infos: Shapes, source: Path, family: Family, part: Part) -> Config:
    if part == family.denoiser.part:
        return _transformer(infos, source, family)
    if part == "vae":
        vae = vae_config(infos, source, family, None)
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        return {**vae, "sample_size": family.process.latents_side[FLOW] * factor}
    encoder = next(each for each in family.encoders if each.part == part)
    if encoder.kind == "t5":
        return t5_config(infos, source, family, encoder)
    return text_config(infos, source, family, encoder, None)


def _refuse_quantised(infos: Shapes, source: Path) -> None:
    """Refuse weights that tables beside them turn into others, as bitsandbytes' and ComfyUI's."""
    mark = next((name for name in infos if _QUANTISED.fullmatch(name)), None)
    if mark is not None:
        raise quantised(source, mark)


def quantised(source: Path, what: str) -> InputError:
    """The refusal of quantised weights.

    Args:
        source: the file.
        what: by what they are told.
    """
    return InputError(
        f"{source} holds quantised weights ({what}), which this version does not read",
        "get the same model in bf16, fp16 or fp32",
    )


def _transformer(infos: Shapes, source: Path, family: Family) -> dict[str, Any]:
    assert family.one_file is not None
    prefix = family.parts[family.denoiser.part].prefix
    shapes = {
        name.removeprefix(prefix): info.shape
        for name, info in infos.items()
        if name.startswith(prefix)
    }
    what = f"{source} is no file of {family.title} that this version reads"
    try:
        config = family.one_file.config(shapes)
    except KeyError as error:
        raise InputError(f"{what}: it lacks {prefix}{error.args[0]}", "get it again") from None
    except (ValueError, IndexError) as error:
        raise InputError(f"{what}: {error}", f"give a pipeline folder of {family.title}") from None
    task = family.one_file.tasks.get(config["in_channels"])
    if task is not None:
        raise InputError(
            f"{source} is a model {task}: its transformer takes {config['in_channels']} channels",
            f"use the text-to-image model of {family.title}",
        )
    return config


def t5_config(infos: Shapes, source: Path, family: Family, encoder: TextEncoder) -> dict[str, Any]:
    """The config.json of T5's encoder, version 1.1, whose MLP is gated."""
    prefix = family.parts[encoder.part].prefix
    attention = f"{prefix}encoder.block.0.layer.0.SelfAttention."
    vocabulary, width = shape_of(infos, f"{prefix}shared.weight", source)
    buckets, heads = shape_of(infos, f"{attention}relative_attention_bias.weight", source)
    gate = f"{prefix}encoder.block.0.layer.1.DenseReluDense.wi_0.weight"
    return {
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shape_of(infos, f"{attention}q.weight", source)[0] // heads,
        "d_ff": shape_of(infos, gate, source)[0],
        "num_layers": count_of(infos, rf"{re.escape(prefix)}encoder\.block\.(\d+)\."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": False,
        "use_cache": False,
        "architectures": [family.parts[encoder.part].class_name],
    }
