"""A closed-form edit of cross-attention's keys and values, which training may start from.

As in unified concept editing (Gandikota et al. 2024, arXiv 2308.14761, eq. 7). W is the matrix of
keys or values, c a token of the concept's prompts as the text encoder gives it, v what it is to
become, p a token of prompts that are kept. The new matrix minimises

    mean_c |W' c - W v|^2 + w mean_p |W' p - W p|^2 + lambda |W' - W|^2

The derivative by W' is zero where W' B = W (C + w P + lambda I), so that

    W' = W + W A B^-1     A = mean_c (v - c) c',   B = C + w P + lambda I
                          C = mean_c c c',         P = mean_p p p'

A B^-1 is the same for all layers. What the tokens become is ESD's target in their own space,
v = f - eta (c - 0): f is the token at the same place in the prompt that is erased from, or in the
empty prompt, and 0 that of the empty prompt.
"""

import time
from pathlib import Path

import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.esd.prepare import Prepared
from esdctl.erasing.esd.step import Embeddings
from esdctl.erasing.esd.student import Student
from esdctl.progress import Reporter
from esdctl.storage.atomic import append_jsonl

MATRICES = ("attn2.to_k.weight", "attn2.to_v.weight")
KEEP_WEIGHT = 1.0  # w
RIDGE = 1e-3  # lambda, in parts of the mean eigenvalue of C + w P
SAME = 1e-3  # tokens that are nearer to a kept one, in parts of its length, are that one
LARGEST_ETA = 1.0  # larger ones erase no more and cost IRA: tests/measurements/README.md
AT_ONCE = 64  # prompts; 64 of SD's are 15 MB


def edit_before_training(ready: Prepared, eta: float, log: Path, reporter: Reporter) -> None:
    """Edit the student before its first step; a resumed checkpoint replaces what this gives.

    Args:
        ready: the student and all embeddings.
        eta: negative guidance; more than ``LARGEST_ETA`` counts as that.
        log: gets a row if it is new.
        reporter: told what was edited.
    """
    began = time.perf_counter()
    count = edit_keys_and_values(ready.student, ready.embeddings, min(LARGEST_ETA, eta))
    seconds = round(time.perf_counter() - began, 4)
    reporter.notice(f"warm start: {count} matrices edited in {seconds:.2f} s")
    if not log.exists():
        append_jsonl(log, {"step": 0, "warm_start": count, "seconds": seconds})


def edit_keys_and_values(student: Student, embeddings: Embeddings, eta: float) -> int:
    """Edit the selected keys and values; the frozen copy stays.

    Args:
        student: changed in place.
        embeddings: of the concept, of what it is erased from, and of what is kept.
        eta: negative guidance.

    Returns:
        How many matrices were edited.
    """
    matrices = [p for name, p in student.selected.items() if name.endswith(MATRICES)]
    edit = _edit(embeddings, eta).to(student.device, torch.float32)  # (D, D)
    with torch.no_grad():
        for matrix in matrices:
            matrix.add_(matrix @ edit)  # (C, D)
    return len(matrices)


def _edit(embeddings: Embeddings, eta: float) -> torch.Tensor:
    """A B^-1, (D, D), float64."""
    empty = embeddings.empty.embeddings  # (1, 77, D)
    concept = embeddings.prompts.embeddings  # (P, 77, D)
    asked, source = concept, empty
    if embeddings.erase_from is not None:
        source = embeddings.erase_from.embeddings
        asked = source.expand_as(concept)
    kept = [embeddings.empty, *([embeddings.retained] if embeddings.retained is not None else [])]
    wanted = source - eta * (concept - empty)  # (P, 77, D)
    is_own = ~_occurs(asked, kept)  # (P, 77)
    c, v = asked[is_own].double(), wanted[is_own].double()  # (N, D)
    a = (v - c).T @ c / max(len(c), 1)
    b = c.T @ c / max(len(c), 1) + KEEP_WEIGHT * _second_moment(kept)
    b += RIDGE * b.diagonal().mean() * torch.eye(len(b), dtype=b.dtype)
    edit: torch.Tensor = torch.linalg.solve(b, a, left=False)
    return edit


def _second_moment(prompts: list[Conditioning]) -> torch.Tensor:
    """mean_p p p', (D, D), float64."""
    rows = [part.embeddings.flatten(0, 1) for part in prompts]  # (N, D) each
    total = sum((part.double().T @ part.double() for part in rows), torch.zeros(()))
    return total / sum(len(part) for part in rows)


def _occurs(tokens: torch.Tensor, kept: list[Conditioning]) -> torch.Tensor:
    """Which tokens are also a kept prompt's at the same place, such as those before a name.

    Args:
        tokens: (P, 77, D).
        kept: prompts.

    Returns:
        (P, 77), bool.
    """
    found = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    for part in kept:
        for few in part.embeddings.split(AT_ONCE):  # (R, 77, D)
            distance = torch.cdist(tokens.transpose(0, 1), few.transpose(0, 1))  # (77, P, R)
            length = few.norm(dim=-1).T[:, None]  # (77, 1, R)
            found |= (distance < SAME * length).any(-1).T
    return found
