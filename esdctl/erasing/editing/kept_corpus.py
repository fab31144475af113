"""What the corpus keeps: the second moment of its prompts' tokens, minus those near a concept.

All tokens and the moment of the whole corpus are computed once for a text encoder, and lie in the
user's cache under its digest. What is near the concept is then subtracted.
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
from esdctl.models.text import encode_ends, encode_starts
from esdctl.progress import Reporter
from esdctl.storage.atomic import write_with
from esdctl.storage.user_cache import cache_folder

TASK = "corpus"
LENGTH = 16  # tokens of each prompt; few are longer, and all that follow are padding
AT_ONCE = 64  # prompts
FORM = 2  # of what lies in the cache
NEAR = 0.6  # cosine, after the mean of all words is taken away; 1 is the concept itself
KIND = "corpus"  # folder in the user's cache


@dataclass(frozen=True)
class Known:
    """A corpus as one text encoder reads it.

    Args:
        moment: the sum of p p' over all tokens, (D, D), float64.
        rows: the tokens themselves, (P, LENGTH, D), float32; mapped from the cache where they lie
            there, so that only what is asked for is read.
        ends: the token that ends each prompt and stands for it, (P, D), float32.
    """

    moment: torch.Tensor
    rows: torch.Tensor
    ends: torch.Tensor


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
    entries, vocabulary = corpus(), _vocabulary()
    place = {entry.text: index for index, entry in enumerate(entries)}
    vectors = known.ends[[place[word] for word in vocabulary]]  # each is asked for alone, too
    left_out = _near(model, concepts, vocabulary, vectors)
    gone = [i for i, entry in enumerate(entries) if not left_out.isdisjoint(entry.words)]
    moment = known.moment
    for start in range(0, len(gone), AT_ONCE):
        rows = known.rows[gone[start : start + AT_ONCE]].flatten(0, 1).double()
        moment = moment - rows.T @ rows
    kept = len(entries) - len(gone)
    listed = tuple(word for word in vocabulary if word in left_out)
    tokens = kept * known.rows.shape[1]
    return Kept(moment / max(tokens, 1), kept, listed)


def _vocabulary() -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for entries in words().values() for word in entries))


def _near(
    model: StableDiffusion,
    concepts: Sequence[str],
    vocabulary: Sequence[str],
    vectors: torch.Tensor,
) -> set[str]:
    """The words that mean nearly the same as a concept, or hold its name; vectors are (W, D)."""
    ends = encode_ends(model, concepts, LENGTH)  # (C, D)
    mean = vectors.mean(0)
    centred = torch.nn.functional.normalize(vectors - mean, dim=-1)
    cosines = centred @ torch.nn.functional.normalize(ends - mean, dim=-1).T  # (W, C)
    near = {word for word, row in zip(vocabulary, cosines, strict=True) if bool((row > NEAR).any())}
    names = [f" {name.casefold()} " for name in concepts]
    return near | {w for w in vocabulary if any(name in f" {w.casefold()} " for name in names)}


def _known(model: StableDiffusion, reporter: Reporter) -> Known:
    """From the cache, or read now."""
    path = cache_folder() / KIND / f"{_key(model)}.safetensors"
    with suppress(OSError, SafetensorError, KeyError):
        found = load_file(path)
        return Known(found["moment"], found["rows"], found["ends"])
    known = _read(model, reporter)
    content = {"moment": known.moment, "rows": known.rows, "ends": known.ends}
    with suppress(StorageError, OSError, RuntimeError):  # it is computed again the next time
        write_with(path, lambda temporary: save_file(content, temporary))
    return known


def _read(model: StableDiffusion, reporter: Reporter) -> Known:
    prompts = [entry.text for entry in corpus()]
    reporter.started(TASK, len(prompts), "prompts")
    moment = torch.zeros(()).double()
    rows, ends = torch.empty(0), torch.empty(0)
    for start in range(0, len(prompts), AT_ONCE):
        told, last = encode_starts(model, prompts[start : start + AT_ONCE], LENGTH)
        if start == 0:
            rows = told.new_empty(len(prompts), *told.shape[1:])  # (P, LENGTH, D)
            ends = told.new_empty(len(prompts), told.shape[-1])  # (P, D)
        rows[start : start + AT_ONCE], ends[start : start + AT_ONCE] = told, last
        tokens = told.flatten(0, 1).double()  # (N, D)
        moment = moment + tokens.T @ tokens
        reporter.advanced(TASK, min(start + AT_ONCE, len(prompts)))
    reporter.finished(TASK)
    return Known(moment, rows, ends)


def _key(model: StableDiffusion) -> str:
    """Of the text encoders' weights and the prompts."""
    parts: dict[str, Mapping[str, torch.Tensor]] = {
        encoder.part: model.files.read(encoder.part) for encoder in model.family.encoders
    }
    content = f"{digest_of(parts)} {digest()} {LENGTH} {FORM}"
    return hashlib.sha256(content.encode()).hexdigest()
