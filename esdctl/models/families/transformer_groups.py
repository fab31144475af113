"""The groups of parameters that can be trained in a transformer of two streams, text and picture.

There is no cross-attention in it: both streams meet in one joint attention, to which each brings
its own queries, keys and values, and from which each takes its own projection. The names are those
of diffusers.
"""

from collections.abc import Callable, Mapping

Group = Callable[[str], bool]

TEXT_KEYS = ("add_k_proj", "add_v_proj")
TEXT_ATTENTION = (*TEXT_KEYS, "add_q_proj", "to_add_out")
PICTURE_KEYS = ("to_k", "to_v")
PICTURE_ATTENTION = (*PICTURE_KEYS, "to_q", "to_out.0")
TEXT_LAYERS = ("norm1_context.", "ff_context.")  # of a block
TEXT_EMBEDDERS = ("context_embedder.", "double_stream_modulation_txt.")  # before the blocks


def _is_of_text(name: str) -> bool:
    """A layer that only the text goes through, apart from its attention."""
    return _in_block(name).startswith(TEXT_LAYERS) or name.startswith(TEXT_EMBEDDERS)


def _linear(modules: tuple[str, ...]) -> Group:
    """Weights and biases of these projections of the joint attention."""
    ends = tuple(f"attn.{module}.{kind}" for module in modules for kind in ("weight", "bias"))
    return lambda name: _in_block(name).startswith("attn.") and name.endswith(ends)


def _is_of_two(name: str) -> bool:
    """Whether it is of a block of two streams."""
    return name.startswith("transformer_blocks.")


def _in_block(name: str) -> str:
    """The name below its block, ``attn.to_q.weight``; empty outside the blocks."""
    parts = name.split(".", 2)
    is_inside = len(parts) == 3 and parts[0].endswith("transformer_blocks") and parts[1].isdigit()
    return parts[2] if is_inside else ""


# Train method -> group.
GROUPS: Mapping[str, Group] = {
    "text-kv": _linear(TEXT_KEYS),
    "text-attn": _linear(TEXT_ATTENTION),
    "picture-attn": lambda name: _is_of_two(name) and _linear(PICTURE_ATTENTION)(name),
    "joint-attn": _linear((*TEXT_ATTENTION, *PICTURE_ATTENTION)),
    "noattn": lambda name: bool(_in_block(name)) and not _in_block(name).startswith("attn"),
    "text-stream": lambda name: _linear(TEXT_ATTENTION)(name) or _is_of_text(name),
    "esd-x": _linear((*TEXT_ATTENTION, *PICTURE_ATTENTION)),
    "esd-x-strict": _linear(PICTURE_KEYS),
    "full": lambda name: True,
}

# In FLUX, blocks of one stream follow those of two. Their attention has queries, keys and values
# that text and picture share, so that it is neither's, but of the joint attention.
GROUPS_WITH_SINGLE_BLOCKS: Mapping[str, Group] = {
    **GROUPS,
    "single-blocks": lambda name: name.startswith("single_transformer_blocks."),
}

# In FLUX.2, one matrix of a single block holds its attention and its layers, so that no group of
# attentions has it. There the authors' strict method moves the text's keys and values, too.
GROUPS_OF_FLUX_2: Mapping[str, Group] = {
    **GROUPS_WITH_SINGLE_BLOCKS,
    "esd-x-strict": _linear((*PICTURE_KEYS, *TEXT_KEYS)),
}
