"""Prompts with free places, and what the U-Net is told once vectors stand in them.

A prompt is a row of token numbers in which None is a free place. All encoders of a model share one
vocabulary (SDXL's two do), so a prompt has the same tokens in each; a free place has a vector of
its own in each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import ftfy
import torch
import torch.nn.functional as F

from esdctl.attacks.concept_judge import CannotAttack
from esdctl.diffusion.conditioning import Conditioning
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import encode_embeddings, frame, longest_prompt

FREE = None  # a free place

Places = Sequence[int | None]


@dataclass(frozen=True)
class Vocabulary:
    """The embeddings of all tokens, for each encoder.

    Args:
        tables: (V, D) for each encoder.
        special: numbers of the tokens that mark beginning, end and padding.
    """

    tables: tuple[torch.Tensor, ...]
    special: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.tables[0])

    def vectors(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Token numbers (...) to vectors for each encoder, (..., D)."""
        return [table[tokens] for table in self.tables]

    @torch.no_grad()
    def pulled_back(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Gradients by each encoder's vectors, (..., D), to those by tokens' weights, (..., V)."""
        parts = [g @ table.T for g, table in zip(gradients, self.tables, strict=True)]
        return torch.stack(parts).sum(0)

    @torch.no_grad()
    def nearest(self, vectors: Sequence[torch.Tensor]) -> torch.Tensor:
        """The tokens whose embeddings have the largest cosine with vectors (B, K, D): (B, K)."""
        cosines = [
            F.normalize(vector, dim=-1) @ table.T  # (B, K, V)
            for vector, table in zip(vectors, self._of_length_1, strict=True)
        ]
        near = torch.stack(cosines).sum(0)
        near[..., list(self.special)] = -torch.inf
        return near.argmax(-1)

    @cached_property
    def _of_length_1(self) -> list[torch.Tensor]:
        return [F.normalize(table, dim=-1) for table in self.tables]


def vocabulary_of(model: StableDiffusion) -> Vocabulary:
    """The model's vocabulary.

    Raises:
        CannotAttack: its encoders have different ones.
    """
    tables = [embedding_table(encoder).weight.detach() for encoder in model.text_encoders]
    if len({len(table) for table in tables}) != 1:
        raise CannotAttack(
            "the text encoders of this model have different vocabularies",
            "use an attack that searches no tokens",
        )
    marks = {
        number
        for each in model.tokenizers
        for number in (each.bos_token_id, each.eos_token_id, each.pad_token_id)
        if isinstance(number, int)
    }
    return Vocabulary(tuple(tables), tuple(sorted(marks)))


def tokens_of(model: StableDiffusion, text: str) -> list[int]:
    """The numbers of a text's tokens, without marks of beginning and end."""
    found = model.tokenizers[0](ftfy.fix_text(text), add_special_tokens=False, verbose=False)
    return list(found.input_ids)


def text_of(model: StableDiffusion, tokens: Sequence[int]) -> str:
    """Tokens as words; read again they may be other tokens."""
    return str(model.tokenizers[0].decode(list(tokens))).strip()


def with_slots_for(model: StableDiffusion, prompt: str, word: str, count: int) -> list[int | None]:
    """A prompt in which ``count`` free places stand for a word, or stand at its beginning.

    A space before the word goes with it: in many vocabularies it is a part of the word's token.
    """
    before, found, after = prompt.partition(word)
    if not found:
        return [*[FREE] * count, *tokens_of(model, prompt)]
    return [*tokens_of(model, before.rstrip()), *[FREE] * count, *tokens_of(model, after)]


def filled(places: Places, tokens: Sequence[int]) -> list[int]:
    """A prompt's tokens with these in the free places, in their order."""
    rest = iter(tokens)
    return [next(rest) if place is FREE else place for place in places]


def encode_slots(
    model: StableDiffusion, prompts: Sequence[Places], vectors: Sequence[torch.Tensor]
) -> Conditioning:
    """What the U-Net is told of prompts whose free places hold vectors; gradients go through.

    Args:
        model: gives the text encoders.
        prompts: B of them, with K free places each; cut where the encoder stops reading.
        vectors: for each encoder, (B, K, D).

    Returns:
        B rows.
    """
    all_tokens, embedded = [], []
    for index, encoder in enumerate(model.text_encoders):
        tokens, places = _rows(model, index, prompts)  # (B, 77), (B, K)
        table = embedding_table(encoder)(tokens).detach()  # (B, 77, D)
        spread = places[..., None].expand(-1, -1, table.shape[-1])  # (B, K, D)
        embedded.append(table.scatter(1, spread, vectors[index]))
        all_tokens.append(tokens)
    return encode_embeddings(model, all_tokens, embedded)


def embedding_table(encoder: torch.nn.Module) -> torch.nn.Embedding:
    """A text encoder's vectors for its tokens."""
    table: torch.nn.Embedding = encoder.get_input_embeddings()  # type: ignore[operator]
    return table


def _rows(
    model: StableDiffusion, index: int, prompts: Sequence[Places]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token numbers of one encoder, (B, 77), and where the free places are, (B, K)."""
    length = longest_prompt(model, index)
    padding = int(model.tokenizers[index].pad_token_id)
    before, behind = frame(model, index)
    rows, places = [], []
    for prompt in prompts:
        kept = list(prompt)[: length - len(before) - len(behind)]
        numbers = [*before, *(0 if token is FREE else token for token in kept), *behind]
        rows.append(numbers + [padding] * (length - len(numbers)))
        places.append([len(before) + i for i, token in enumerate(kept) if token is FREE])
    return torch.tensor(rows, device=model.device), torch.tensor(places, device=model.device)
