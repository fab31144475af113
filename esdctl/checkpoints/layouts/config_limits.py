"""What a part's config may say: one that asks for a billion layers is refused, not built."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from esdctl.errors import InputError

# Stable Diffusion's largest: 4 levels, 2 or 3 layers, 10 transformers, 32 text layers; the widest
# layers have 5,120 channels, and the vocabulary 49,408 tokens.
_LIMITS = {
    "layers_per_block": 16,
    "transformer_layers_per_block": 100,
    "num_hidden_layers": 100,
    "num_layers": 100,
    "num_single_layers": 100,
}
_LEVELS = 8
_WHOLE_NUMBERS = (
    "in_channels", "out_channels", "latent_channels", "layers_per_block", "num_hidden_layers",
    "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size", "sample_size",
    "max_position_embeddings", "cross_attention_dim", "block_out_channels", "num_train_timesteps",
    "transformer_layers_per_block", "attention_head_dim", "num_layers", "num_single_layers",
)  # fmt: skip
_LARGEST = 1_000_000
# Above the first and up to the second; NaN is neither.
_NUMBERS = {
    "scaling_factor": (0.0, 1e3), "beta_start": (0.0, 1.0), "beta_end": (0.0, 1.0),
}  # fmt: skip


def check_config(config: Mapping[str, Any], part: str, source: Path) -> None:
    """Refuse a config whose sizes are none of a Stable Diffusion's.

    Args:
        config: as in config.json.
        part: which part's; for the message.
        source: where it comes from; for the message.

    Raises:
        InputError: a size is no whole number, or absurd.
    """
    for key, (least, most) in _NUMBERS.items():
        value = config.get(key, most)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _absurd(source, part, key)
        if not least < value <= most:
            raise _absurd(source, part, key)
    for key in ("block_out_channels", "down_block_types", "up_block_types"):
        value = config.get(key)
        if value is not None and not (isinstance(value, list | tuple) and len(value) <= _LEVELS):
            raise _absurd(source, part, key)
    for key in ("layers_per_block", "cross_attention_dim", "sample_size"):
        if isinstance(config.get(key), list | tuple):
            raise InputError(
                f"{source}: the {part} has several values of {key}, one a level or side",
                "this version takes one; use a model of Stable Diffusion's own structure",
            )
    for key in _WHOLE_NUMBERS:
        for number in _numbers(config.get(key)):
            largest = _LIMITS.get(key, _LARGEST)
            least = 0 if key == "transformer_layers_per_block" else 1  # of levels without attention
            if type(number) is not int or not least <= number <= largest:
                raise _absurd(source, part, key)


def check_widths(
    unet: Mapping[str, Any], encoders: Sequence[Mapping[str, Any]], source: Path
) -> None:
    """Refuse a U-Net beside text encoders of another model.

    Args:
        unet: as in config.json.
        encoders: likewise, of the text encoders; their outputs are laid side by side.
        source: where they come from; for the message.

    Raises:
        InputError: the embeddings of the one have not the width that the other asks for.
    """
    asked = unet.get("cross_attention_dim")
    given = sum(int(each.get("hidden_size", 0)) for each in encoders)
    if isinstance(asked, int) and given and asked != given:
        raise InputError(
            f"{source}: the U-Net asks for text embeddings of {asked} numbers, and the text "
            f"encoder gives {given}",
            "it is put together from two kinds of model; take both parts from one",
        )


def check_size_conditions(unet: Mapping[str, Any], pooled: int, source: Path) -> None:
    """Refuse a U-Net that is told other numbers than prompt and picture size.

    Args:
        unet: as in config.json.
        pooled: the width of the pooled prompt.
        source: where it comes from; for the message.

    Raises:
        InputError: it asks for more or fewer numbers, as SDXL's refiner does.
    """
    sizes = "addition_time_embed_dim", "projection_class_embeddings_input_dim"
    each, asked = (unet.get(key) for key in sizes)
    if type(each) is not int or type(asked) is not int or each <= 0:
        raise InputError(
            f"{source}: the config of the unet does not say {' and '.join(sizes)}",
            "it is damaged; get it again",
        )
    if pooled and asked != pooled + 6 * each:
        raise InputError(
            f"{source}: the U-Net is told {(asked - pooled) / each:g} numbers beside the prompt, "
            "not 6",
            "it is a refiner or of another kind; use the text-to-image model of the same family",
        )


def _numbers(value: Any) -> Iterator[Any]:
    """Every number in a value; lists nest one in another for the way up of some U-Nets."""
    if isinstance(value, list | tuple):
        for item in value[: _LEVELS * _LEVELS]:
            if isinstance(item, list | tuple):
                yield from item[:_LEVELS]
            else:
                yield item
    elif value is not None:
        yield value


def _absurd(source: Path, part: str, key: str) -> InputError:
    return InputError(
        f"{source}: the config of the {part} has a senseless {key}",
        "it is damaged, or of another kind of model; get it again",
    )
