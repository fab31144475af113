"""Prompts to what the denoiser is told of them, through the model's tokenizers and encoders."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import ftfy
import torch
from jinja2 import TemplateError

from esdctl.diffusion.conditioning import Conditioning, Encoded, concatenate
from esdctl.errors import InputError
from esdctl.models.families.family import TextEncoder
from esdctl.models.stable_diffusion import StableDiffusion

AT_ONCE = 64  # prompts; SDXL's encoder keeps every layer's output, 13 MB a prompt
CHATS_AT_ONCE = 4  # Qwen3 of 4 billion keeps 97 MB a prompt
_PROMPT = "\ue000"  # of Unicode's private use: it stands in no template


@torch.no_grad()
def encode_prompts(model: StableDiffusion, prompts: Sequence[str]) -> Conditioning:
    """The prompts' embeddings, cut or padded to the encoders' lengths (77 tokens in CLIP).

    The family says which of an encoder's outputs are used and how they lie side by side. In SDXL
    the empty prompt is zeros where the model says so.

    Prompts for CLIP are cleaned with ftfy first, as CLIP's original tokenizer does; transformers'
    does not, which changes one I2P prompt in fifty. A chat model is given the prompt as a user's
    turn, by the template of its tokenizer, and is about to answer without thinking.

    Args:
        model: gives tokenizers, text encoders and device.
        prompts: B texts, at least one; "" is the unconditional one.

    Returns:
        B rows, float32; for pictures of the model's own size.

    Raises:
        InputError: the template of a chat model fails.
    """
    is_chat = any(each.kind == "chat" for each in model.architecture.encoders)
    count = CHATS_AT_ONCE if is_chat else AT_ONCE
    parts = [
        _encode(model, prompts[start : start + count]) for start in range(0, len(prompts), count)
    ]
    return concatenate(parts).for_size(model.image_size, model.image_size)


@torch.no_grad()
def encode_starts(
    model: StableDiffusion, prompts: Sequence[str], length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the encoders make of the first tokens alone; each token sees none behind it.

    Args:
        model: gives tokenizers, text encoders and device.
        prompts: B texts, at least one.
        length: tokens; a longer prompt is cut there.

    Returns:
        The embeddings as in the whole prompt, (B, length, D), and those of the token that ends each
        prompt, (B, D), which stands for it; float32, on the CPU.
    """
    starts, ends = [], []
    for first in range(0, len(prompts), AT_ONCE):
        tokens = _starts(model, prompts[first : first + AT_ONCE], length)
        told = _told(model, tokens, None).embeddings.cpu()  # (b, length, D)
        starts.append(told)
        ends.append(told[torch.arange(len(told)), _end(model, tokens[0]).cpu()])
    return torch.cat(starts), torch.cat(ends)


@torch.no_grad()
def encode_ends(model: StableDiffusion, prompts: Sequence[str], length: int) -> torch.Tensor:
    """The second of what ``encode_starts`` gives, (B, D); no token behind the end is computed."""
    ends = []
    for first in range(0, len(prompts), AT_ONCE):
        tokens = _starts(model, prompts[first : first + AT_ONCE], length)
        end = _end(model, tokens[0])  # (b,)
        read = [few[:, : int(end.max()) + 1] for few in tokens]
        told = _told(model, read, None).embeddings  # (b, n, D)
        ends.append(told[torch.arange(len(told), device=told.device), end].cpu())
    return torch.cat(ends)


def cut_prompts(model: StableDiffusion, prompts: Iterable[str]) -> list[str]:
    """A sentence for each prompt that is longer than any text encoder reads (77 tokens in CLIP).

    Args:
        model: gives the tokenizers and their lengths.
        prompts: any texts.
    """
    index = max(range(len(model.tokenizers)), key=lambda each: longest_prompt(model, each))
    tokenizer, longest = model.tokenizers[index], longest_prompt(model, index)
    notes = []
    for prompt in dict.fromkeys(prompts):
        text = _as_read(model, index, prompt)
        if len(text) < longest:  # a token is a letter at least
            continue
        tokens = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) > longest:
            unread = _unread(model, index, prompt, tokens)
            notes.append(
                f"a prompt of {len(tokens)} tokens is cut at {longest}: {prompt[:40]!r}... is read "
                f"without {unread[:60]!r}"
            )
    return notes


def _unread(model: StableDiffusion, index: int, prompt: str, tokens: list[int]) -> str:
    """What is cut off a prompt of which an encoder reads the first tokens alone."""
    tokenizer, longest = model.tokenizers[index], longest_prompt(model, index)
    if model.architecture.encoders[index].kind != "chat":  # the last one is the end
        return str(tokenizer.decode(tokens[longest - 1 : -1])).strip()
    cut = str(tokenizer.decode(tokens[longest:]))
    behind = _as_read(model, index, prompt).rpartition(prompt)[2]
    return cut.removesuffix(behind).strip()


def encode_embeddings(
    model: StableDiffusion, tokens: Sequence[torch.Tensor], embeddings: Sequence[torch.Tensor]
) -> Conditioning:
    """What the denoiser is told where tokens have other embeddings than the encoders' own.

    Gradients go through. Positions are added as always; ``tokens`` say where the prompt ends.

    Args:
        model: gives the text encoders.
        tokens: for each encoder, the numbers of the tokens, (B, T).
        embeddings: for each encoder, the embeddings in their place, (B, T, D).

    Returns:
        B rows, float32; for pictures of the model's own size.
    """
    told = _told(model, tokens, embeddings)
    return told.for_size(model.image_size, model.image_size)


def _encode(model: StableDiffusion, prompts: Sequence[str]) -> Conditioning:
    tokens = [_tokens(model, index, prompts) for index in range(len(model.text_encoders))]
    told = _told(model, tokens, None)
    if not model.empty_is_zero:
        return told
    is_text = torch.tensor([bool(prompt) for prompt in prompts], device=model.device)
    return replace(
        told,
        embeddings=told.embeddings * is_text[:, None, None],
        pooled=None if told.pooled is None else told.pooled * is_text[:, None],
    )


def _told(
    model: StableDiffusion,
    tokens: Sequence[torch.Tensor],
    embeddings: Sequence[torch.Tensor] | None,
) -> Conditioning:
    made: list[Encoded] = []
    for index, (how, encoder) in enumerate(
        zip(model.architecture.encoders, model.text_encoders, strict=True)
    ):
        given = nullcontext() if embeddings is None else _embedded_as(encoder, embeddings[index])
        with given:
            made.append(_encoded(how, encoder, tokens[index], model.tokenizers[index].pad_token_id))
    return model.family.denoiser.tell(made, model.architecture.denoiser)


def _encoded(how: TextEncoder, encoder: Any, tokens: torch.Tensor, padding: int) -> Encoded:
    """What an encoder makes of tokens (B, T), padded with ``padding``."""
    if how.kind == "chat":  # what it would answer is not asked, and no token sees the padding
        output = encoder.base_model(
            tokens, tokens != padding, output_hidden_states=True, use_cache=False
        )
        hidden = torch.cat([output.hidden_states[layer] for layer in how.layers], dim=-1)
        return Encoded(hidden.float())
    is_last = how.hidden_state == "last"
    output = encoder(tokens, output_hidden_states=not is_last)
    hidden = output.last_hidden_state if is_last else output.hidden_states[-2]
    return Encoded(hidden.float(), output[how.pooled] if how.is_pooled else None)


@contextmanager
def _embedded_as(encoder: torch.nn.Module, embeddings: torch.Tensor) -> Iterator[None]:
    """Let a text encoder take these embeddings (B, 77, D) for those of its tokens."""
    table: torch.nn.Module = encoder.get_input_embeddings()  # type: ignore[operator]
    handle = table.register_forward_hook(lambda module, inputs, output: embeddings)
    try:
        yield
    finally:
        handle.remove()


def _starts(model: StableDiffusion, prompts: Sequence[str], length: int) -> list[torch.Tensor]:
    """For each encoder, the numbers of the prompts' first tokens, (B, length)."""
    encoders = range(len(model.text_encoders))
    return [_tokens(model, index, prompts)[:, :length] for index in encoders]


def _end(model: StableDiffusion, tokens: torch.Tensor) -> torch.Tensor:
    """Where each row of tokens (B, n) has its end token, the first one; n - 1 without any: (B,)."""
    last = tokens == model.tokenizers[0].eos_token_id  # the padding is the same in SD 1.x
    return torch.where(last.any(1), last.int().argmax(1), tokens.shape[1] - 1)


def _as_read(model: StableDiffusion, index: int, prompt: str) -> str:
    """A prompt as one of the encoders reads it; see ``encode_prompts``."""
    kind = model.architecture.encoders[index].kind
    if kind == "t5":
        return prompt
    if kind == "clip":
        return ftfy.fix_text(prompt)
    turn = [{"role": "user", "content": prompt}]
    try:
        text = model.tokenizers[index].apply_chat_template(
            turn, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except (TemplateError, ValueError) as error:
        place = model.files.tokenizers[index].folder
        raise InputError(
            f"the chat template of the tokenizer in {place} fails: {error}", "get the model again"
        ) from error
    return str(text)


def frame(model: StableDiffusion, index: int) -> tuple[list[int], list[int]]:
    """The numbers of the tokens that stand before and behind every prompt of one of the encoders.

    Those are the marks of a text's beginning and end, or what makes it a user's turn in a chat.
    """
    before, _, behind = _as_read(model, index, _PROMPT).partition(_PROMPT)
    tokenizer = model.tokenizers[index]
    if model.architecture.encoders[index].kind == "chat":
        return tokenizer(before).input_ids, tokenizer(behind).input_ids
    marks = list(tokenizer("").input_ids)
    begins = marks[:1] == [tokenizer.bos_token_id]
    return marks[: int(begins)], marks[int(begins) :]


def longest_prompt(model: StableDiffusion, index: int) -> int:
    """Tokens that one of the encoders reads, its frame included; some tokenizers do not say it."""
    encoder = model.architecture.encoders[index]
    config = model.architecture.config(encoder.part)
    most = encoder.longest or int(config.get("max_position_embeddings", 77))
    return min(int(model.tokenizers[index].model_max_length), most)


def _tokens(model: StableDiffusion, index: int, prompts: Sequence[str]) -> torch.Tensor:
    """Numbers of the tokens for one of the encoders, (B, T)."""
    tokens: torch.Tensor = model.tokenizers[index](
        [_as_read(model, index, prompt) for prompt in prompts],
        padding="max_length",
        max_length=longest_prompt(model, index),
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return tokens.to(model.device)
