"""Prompts to what the U-Net is told of them, through the model's own tokenizers and encoders."""

from collections.abc import Iterable, Sequence

import ftfy
import torch

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.models.stable_diffusion import StableDiffusion

AT_ONCE = 64  # prompts; SDXL's encoder keeps every layer's output, 13 MB a prompt


@torch.no_grad()
def encode_prompts(model: StableDiffusion, prompts: Sequence[str]) -> Conditioning:
    """The prompts' embeddings, cut or padded to 77 tokens.

    SD 1.x and 2.x take the last hidden state of their encoder. SDXL takes the last but one of both
    of its encoders, side by side, and the second one's projection of the prompt as a whole; in it
    the empty prompt is zeros where the model says so.

    Prompts are cleaned with ftfy first, as CLIP's original tokenizer does; transformers' does not,
    which changes one I2P prompt in fifty.

    Args:
        model: gives tokenizers, text encoders and device.
        prompts: B texts, at least one; "" is the unconditional one.

    Returns:
        B rows, float32; for pictures of the model's own size.
    """
    parts = [
        _encode(model, [ftfy.fix_text(prompt) for prompt in prompts[start : start + AT_ONCE]])
        for start in range(0, len(prompts), AT_ONCE)
    ]
    return concatenate(parts).for_size(model.image_size, model.image_size)


def cut_prompts(model: StableDiffusion, prompts: Iterable[str]) -> list[str]:
    """A sentence for each prompt that is longer than the text encoder reads (77 tokens in CLIP).

    Args:
        model: gives the tokenizer and its length.
        prompts: any texts.
    """
    tokenizer = model.tokenizers[0]
    longest = min(tokenizer.model_max_length, 77)
    notes = []
    for prompt in dict.fromkeys(prompts):
        text = ftfy.fix_text(prompt)
        if len(text) < longest:  # a token is a letter at least
            continue
        tokens = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) > longest:
            unread = str(tokenizer.decode(tokens[longest - 1 : -1])).strip()
            notes.append(
                f"a prompt of {len(tokens)} tokens is cut at {longest}: {prompt[:40]!r}... is read "
                f"without {unread[:60]!r}"
            )
    return notes


def _encode(model: StableDiffusion, prompts: Sequence[str]) -> Conditioning:
    hidden: list[torch.Tensor] = []  # of each encoder, (B, 77, D)
    pooled: torch.Tensor | None = None  # (B, P)
    for index, (how, encoder) in enumerate(
        zip(model.family.encoders, model.text_encoders, strict=True)
    ):
        is_last = how.hidden_state == "last"
        output = encoder(_tokens(model, index, prompts), output_hidden_states=not is_last)
        hidden.append(output.last_hidden_state if is_last else output.hidden_states[-2])
        if how.is_pooled:
            pooled = output.text_embeds
    embeddings = torch.cat(hidden, dim=-1)  # (B, 77, D1 + D2)
    if model.empty_is_zero:
        is_text = torch.tensor([bool(prompt) for prompt in prompts], device=model.device)
        embeddings = embeddings * is_text[:, None, None]
        pooled = None if pooled is None else pooled * is_text[:, None]
    return Conditioning(embeddings, pooled)


def _tokens(model: StableDiffusion, index: int, prompts: Sequence[str]) -> torch.Tensor:
    """Numbers of the tokens for one of the encoders, (B, 77)."""
    tokenizer = model.tokenizers[index]
    longest = model.text_encoders[index].config.max_position_embeddings
    tokens: torch.Tensor = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=min(tokenizer.model_max_length, longest),  # some configs do not say it
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return tokens.to(model.device)
