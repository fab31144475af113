"""What people hold in place of a model, a delta or a LoRA, told by the names of its tensors."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from esdctl.errors import InputError
from esdctl.models.families.tensor_names import DIFFUSERS_TRANSFORMER, DIFFUSERS_UNET

NAMED = 3  # names of tensors in an error


@dataclass(frozen=True)
class OtherKind:
    """A kind of file that is neither a model nor a change of one.

    Args:
        name: what it is, with its article.
        hint: what to do.
        some: a pattern that at least one name begins with.
        every: a pattern that all names begin with; None where one name tells enough.
    """

    name: str
    hint: str
    some: str
    every: str | None = None

    def tells(self, names: list[str]) -> bool:
        """Whether a file of these tensors is of this kind."""
        every = self.every is None or all(re.match(self.every, name) for name in names)
        return every and any(re.match(self.some, name) for name in names)


_NO_CHANGE = "it changes no model that we train; give a model, a run folder, a delta or a LoRA"
_TEXT = (
    r"(text_model\.|transformer\.text_model\.|embeddings\.|encoder\.layers\.|final_layer_norm\.)"
)
_VAE = r"(encoder\.|decoder\.|quant_conv\.|post_quant_conv\.|loss\.|model_ema\.)"
_KINDS = (
    OtherKind("a Custom Diffusion delta with new tokens (modifier_token)",
              "a new token needs a row in the text encoder, which is not changed here",
              r"modifier_token"),
    OtherKind("a delta of U-Net and text encoder", "a changed text encoder is not applied; let the "
              "tool that made it write a whole pipeline folder, and use that",
              r"text_encoder\.", r"(unet|text_encoder)\."),
    OtherKind("a textual inversion embedding", f"{_NO_CHANGE}; its words go into prompts",
              r"(emb_params|string_to_|clip_[lg]$|\*$|<.+>$)"),
    OtherKind("a LoRA with embeddings in it (bundle_emb)",
              "take the LoRA and its embeddings apart with the tool that made it", r"bundle_emb\."),
    OtherKind("a ControlNet", _NO_CHANGE,
              r"(controlnet_|control_model\.|lora_controlnet|input_hint_block\.|zero_convs\.)"),
    OtherKind("an IP-Adapter", _NO_CHANGE, r"(image_proj\.|ip_adapter\.)"),
    OtherKind("a T2I-Adapter", _NO_CHANGE, r"(adapter\.)?body\.\d+\."),
    OtherKind("a motion module (AnimateDiff)", _NO_CHANGE,
              r".*\b(motion_modules|temporal_transformer)\."),
    OtherKind("an upscaler", _NO_CHANGE, r"(model\.\d+\.|body\.|conv_first).*", r"(model|body|conv"
              r"|HRconv|RRDB|upconv|trunk)"),
    OtherKind("a hypernetwork", _NO_CHANGE, r"\d+\.\d+\.linear", r"\d+\."),
    OtherKind("a text encoder alone, as AdvUnlearn's", "put it into a pipeline folder as "
              "text_encoder/model.safetensors beside the other parts, and use that folder",
              _TEXT, rf"({_TEXT}|text_projection|logit_scale)"),
    OtherKind("a VAE alone", "put it into a pipeline folder as its vae, and use that folder",
              r"(de|en)coder\.", _VAE),
    OtherKind("an LDM U-Net alone, or a mask of one", "give a whole checkpoint, with VAE and text "
              "encoder", r"input_blocks\.", r"(input_blocks|middle_block|output_blocks|time_embed"
              r"|label_emb|out)\."),
    OtherKind("made for a transformer (Stable Diffusion 3, FLUX or the like)",
              "deltas under diffusers' names are read, and LoRAs in diffusers' or kohya's form, on "
              "the base that they were made for",
              r"(transformer\.|lora_transformer_|(lora_unet_|diffusion_model\.)?(model\."
              r"diffusion_model\.)?(double|single|joint)_(stream_modulation|blocks))"),
)  # fmt: skip


def other_kind(names: Iterable[str]) -> OtherKind | None:
    """The kind of a file that is neither a model nor a change of one, where it is known."""
    found = list(names)
    return next((kind for kind in _KINDS if found and kind.tells(found)), None)


def refuse_other_kinds(path: Path, names: Iterable[str]) -> None:
    """Refuse what is neither a LoRA nor some of a denoiser's tensors under diffusers' names.

    Args:
        path: the file.
        names: its tensors, no LoRA's.

    Raises:
        InputError: it is something else, which is named.
    """
    found = list(names)
    kind = other_kind(found)
    if kind is not None:
        raise InputError(f"{path} is {kind.name}", kind.hint)
    ours = (*DIFFUSERS_UNET, *DIFFUSERS_TRANSFORMER)
    strangers = [name for name in found if not name.startswith(ours)]
    if strangers or not found:
        what = f"holds tensors of no known kind: {listed(strangers)}" if found else "is empty"
        raise InputError(
            f"{path} is no model, delta or LoRA that this version reads: it {what}",
            "give a CompVis checkpoint, a diffusers pipeline folder, a run folder or a delta",
        )


def listed(names: list[str]) -> str:
    """The first few of many names, each short, and how many more there are."""
    first = ", ".join(ascii(name[:100])[1:-1] for name in names[:NAMED])
    more = len(names) - NAMED
    return f"{first} and {more} more" if more > 0 else first
