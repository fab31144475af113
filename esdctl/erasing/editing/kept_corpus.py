"""What the corpus keeps: the second moment of its prompts' tokens, minus those near a concept.

The moment of the whole corpus and a vector a word are computed once for a text encoder, and lie in
the user's cache under its digest. What is near the concept is then subtracted.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.model_digest import digest_of
from esdctl.datasets.corpus.prompts import NAME, VERSION, corpus, digest, words
from esdctl.errors import StorageError
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import encode_starts
from esdctl.progress import Reporter
from esdctl.storage.atomic import write_with
from esdctl.storage.user_cache import cache_folder

TASK = "corpus"
LENGTH = 16  # tokens of each prompt; the longest has 14, and all that follow are padding
AT_ONCE = 64  # prompts
NEAR = 0.6  # cosine, after the mean of all words is taken away; 1 is the concept itself
KIND = "corpus"  # folder in the user's cache


@dataclass(frozen=True)
class Known:
    """A corpus as one text encoder reads it.

    Args:
        moment: the sum of p p' over all tokens, (D, D), float64.
        tokens: how many they are.
        vectors: of each word alone, (W, D), float32.
    """

    moment: torch.Tensor
    tokens: int
    vectors: torch.Tensor


@dataclass(frozen=True)
class Kept:
    """What is left of the corpus beside some concepts.

    Args:
        moment: mean p p', (D, D), float64.
        prompts: how many are kept.
        left_out: the words whose prompts are not.
    """

    moment: torch.Tensor
    prompts: int
    left_out: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """What a run's record says of it."""
        return {
            "corpus": NAME,
            "version": VERSION,
            "sha256": digest(),
            "kept_prompts": self.prompts,
            "left_out_above_cosine": NEAR,
            "left_out": list(self.left_out),
        }


def keep_corpus(model: StableDiffusion, concepts: Sequence[str], reporter: Reporter) -> Kept:
    """The corpus without what is near any of the concepts.

    Args:
        model: gives the text encoders.
        concepts: their names, with spaces.
        reporter: told of the corpus's first reading by this text encoder.
    """
    known = _known(model, reporter)
    vocabulary = _vocabulary()
    left_out = _near(model, concepts, vocabulary, known.vectors)
    gone = [entry.text for entry in corpus() if not left_out.isdisjoint(entry.words)]
    moment, tokens = known.moment, known.tokens
    for start in range(0, len(gone), AT_ONCE):
        rows = _rows(model, gone[start : start + AT_ONCE])
        moment = moment - rows.T @ rows
        tokens -= len(rows)
    listed = tuple(word for word in vocabulary if word in left_out)
    return Kept(moment / max(tokens, 1), len(corpus()) - len(gone), listed)


def _vocabulary() -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for entries in words().values() for word in entries))


def _near(
    model: StableDiffusion,
    concepts: Sequence[str],
    vocabulary: Sequence[str],
    vectors: torch.Tensor,
) -> set[str]:
    """The words that mean nearly the same as a concept, or hold its name."""
    _, ends = encode_starts(model, concepts, LENGTH)  # (C, D)
    mean = vectors.mean(0)
    centred = torch.nn.functional.normalize(vectors - mean, dim=-1)
    cosines = centred @ torch.nn.functional.normalize(ends - mean, dim=-1).T  # (W, C)
    near = {word for word, row in zip(vocabulary, cosines, strict=True) if bool((row > NEAR).any())}
    names = [f" {name.casefold()} " for name in concepts]
    return near | {w for w in vocabulary if any(name in f" {w.casefold()} " for name in names)}


def _rows(model: StableDiffusion, prompts: Sequence[str]) -> torch.Tensor:
    """All tokens of some prompts, (N, D), float64."""
    return encode_starts(model, prompts, LENGTH)[0].flatten(0, 1).double()


def _known(model: StableDiffusion, reporter: Reporter) -> Known:
    """From the cache, or read now."""
    path = cache_folder() / KIND / f"{_key(model)}.safetensors"
    with suppress(OSError, SafetensorError, KeyError):
        found = load_file(path)
        return Known(found["moment"], int(found["tokens"]), found["vectors"])
    known = _read(model, reporter)
    content = {
        "moment": known.moment,
        "tokens": torch.tensor(known.tokens),
        "vectors": known.vectors,
    }
    with suppress(StorageError, OSError, RuntimeError):  # it is computed again the next time
        write_with(path, lambda temporary: save_file(content, temporary))
    return known


def _read(model: StableDiffusion, reporter: Reporter) -> Known:
    prompts = [entry.text for entry in corpus()]
    reporter.started(TASK, len(prompts), "prompts")
    moment, tokens = torch.zeros(()).double(), 0
    for start in range(0, len(prompts), AT_ONCE):
        rows = _rows(model, prompts[start : start + AT_ONCE])
        moment = moment + rows.T @ rows
        tokens += len(rows)
        reporter.advanced(TASK, min(start + AT_ONCE, len(prompts)))
    reporter.finished(TASK)
    _, vectors = encode_starts(model, _vocabulary(), LENGTH)
    return Known(moment, tokens, vectors)


def _key(model: StableDiffusion) -> str:
    """Of the text encoders' weights and the prompts."""
    parts: dict[str, Mapping[str, torch.Tensor]] = {
        encoder.part: model.files.read(encoder.part) for encoder in model.family.encoders
    }
    content = f"{digest_of(parts)} {digest()} {LENGTH}"
    return hashlib.sha256(content.encode()).hexdigest()
