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

The other rule (``null-space``, as Li et al. 2025, arXiv 2503.07392) moves W only in directions
that no kept token uses: with Q the projection on P's eigenvectors of small eigenvalues, without
start token and empty prompt, which are held exactly, W' = W + W A Q (Q C Q + lambda I)^-1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings
from esdctl.erasing.esd.student import Student

MATRICES = ("attn2.to_k.weight", "attn2.to_v.weight")
KEEP_WEIGHT = 1.0  # w
# lambda, in parts of the mean eigenvalue of C + w P. What is not named is kept by the greater one,
# which erases as well: tests/measurements/README.md.
RIDGE_ALL_NAMED, RIDGE = 1e-3, 1.0
SMALL = 1e-2  # eigenvalues of P, in parts of their mean, whose directions may move
HELD = 1e-10  # of the empty prompt's squared length: where it has more, nothing may move
SAME = 1e-3  # tokens that are nearer to a kept one, in parts of its length, are that one
# So many concepts share the weight of one: they have most in common, and what each adds costs the
# others. Of more, each counts as one of so many.
SHARED = 10
LARGEST_ETA = 1.0  # larger ones erase no more and cost IRA: tests/measurements/README.md
AT_ONCE = 64  # prompts; 64 of SD's are 15 MB


@dataclass(frozen=True)
class Rule:
    """How an edit weighs what it erases against what it keeps.

    Args:
        eta: negative guidance.
        ridge: lambda, in parts of the mean eigenvalue of C + w P.
        is_null_space: move only what no kept token uses.
        rounds: edits after the first.
        corpus: mean p p' of a corpus that is kept as well, (D, D), or None.
        weight: of what is erased, where it is the mean over very many concepts.
    """

    eta: float = 1.0
    ridge: float = RIDGE
    is_null_space: bool = False
    rounds: int = 0
    corpus: torch.Tensor | None = None
    weight: float = 1.0


def rule_of(config: TrainConfig, corpus: torch.Tensor | None = None, concepts: int = 1) -> Rule:
    """The rule that settings ask for; eta counts up to ``LARGEST_ETA``.

    Args:
        config: the settings.
        corpus: mean p p' of the corpus that is kept, or None.
        concepts: how many are erased at once.
    """
    usual = RIDGE_ALL_NAMED if config.retain_all else RIDGE
    return Rule(
        eta=min(LARGEST_ETA, config.negative_guidance),
        ridge=usual if config.ridge is None else config.ridge,
        is_null_space=config.edit_rule == "null-space",
        rounds=config.rounds,
        corpus=corpus,
        weight=max(1.0, concepts / SHARED),
    )


def edit_keys_and_values(student: Student, embeddings: Embeddings, rule: Rule) -> int:
    """Edit the selected keys and values; the frozen copy stays.

    Args:
        student: changed in place.
        embeddings: of the concept, of what it is erased from, and of what is kept.
        rule: how.

    Returns:
        How many matrices were edited.
    """
    matrices = [p for name, p in student.selected.items() if name.endswith(MATRICES)]
    edit_matrices(matrices, embeddings, rule)
    student.refresh()
    return len(matrices)


@torch.no_grad()
def edit_matrices(matrices: Sequence[torch.Tensor], embeddings: Embeddings, rule: Rule) -> None:
    """Edit keys and values, and again against what would bring the concept back.

    Args:
        matrices: (C, D) each, float32; changed in place.
        embeddings: of the concept, of what it is erased from, and of what is kept.
        rule: how.
    """
    before = [matrix.clone() for matrix in matrices] if rule.rounds else []
    _add(matrices, closed_form(embeddings, rule))
    for _ in range(rule.rounds):
        found = _bring_back(embeddings.prompts, before, matrices)
        # W' 0 is W 0, which is kept; what eta adds was meant for W.
        again = replace(embeddings, prompts=found, erase_from=None)
        _add(matrices, closed_form(again, replace(rule, eta=0.0)))


def closed_form(embeddings: Embeddings, rule: Rule) -> torch.Tensor:
    """What all keys and values are multiplied by and moved by.

    Args:
        embeddings: of the concept, of what it is erased from, and of what is kept.
        rule: how.

    Returns:
        A B^-1, (D, D), float64.
    """
    kept = [embeddings.empty, *([embeddings.retained] if embeddings.retained is not None else [])]
    a, own = _erased_moments(embeddings, kept, rule.eta)
    moment = _second_moment(kept) + (0 if rule.corpus is None else rule.corpus)
    if rule.is_null_space:
        free = _free_directions(moment, embeddings.empty)  # (D, D)
        ridge = rule.ridge * own.diagonal().mean()
        a, b = a @ free, rule.weight * free @ own @ free
    else:
        ridge = rule.ridge * (own + KEEP_WEIGHT * moment).diagonal().mean()
        b = rule.weight * own + KEEP_WEIGHT * moment
    a, b = rule.weight * a, b + ridge * torch.eye(len(b), dtype=b.dtype)
    edit: torch.Tensor = torch.linalg.solve(b, a, left=False)
    return edit


def _erased_moments(
    embeddings: Embeddings, kept: list[Conditioning], eta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A = mean_c (v - c) c' and C = mean_c c c', (D, D) each, float64; a few prompts at a time."""
    empty, prompts = embeddings.empty.embeddings, embeddings.prompts.embeddings
    sources = empty if embeddings.erase_from is None else embeddings.erase_from.embeddings
    sources = sources.expand_as(prompts)  # (P, 77, D)
    size = prompts.shape[-1]
    a, own = (torch.zeros(size, size, dtype=torch.float64) for _ in range(2))
    tokens = 0
    for concept, source in zip(prompts.split(AT_ONCE), sources.split(AT_ONCE), strict=True):
        asked = concept if embeddings.erase_from is None else source
        wanted = source - eta * (concept - empty)
        is_own = ~_occurs(asked, kept)  # (p, 77)
        c, v = asked[is_own].double(), wanted[is_own].double()  # (N, D)
        a += (v - c).T @ c
        own += c.T @ c
        tokens += len(c)
    return a / max(tokens, 1), own / max(tokens, 1)


def _add(matrices: Iterable[torch.Tensor], edit: torch.Tensor) -> None:
    """W' = W + W A B^-1."""
    for matrix in matrices:
        matrix.add_(matrix @ edit.to(matrix.device, matrix.dtype))


def _bring_back(
    prompts: Conditioning, before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]
) -> Conditioning:
    """The embeddings for which the edited matrices say most nearly what W said of the concept.

    As RECE (Gong et al. 2024, arXiv 2407.12383): c* = (sum U' U + lambda I)^-1 sum U' W c, where U
    is the edited W and U' its transpose.
    """
    old = torch.cat([matrix.double().cpu() for matrix in before])  # (sum of C, D)
    new = torch.cat([matrix.double().cpu() for matrix in after])
    gram = new.T @ new
    gram += RIDGE_ALL_NAMED * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    back = torch.linalg.solve(gram, new.T @ old)  # (D, D)
    rows = prompts.embeddings
    return replace(prompts, embeddings=(rows.double() @ back.T).to(rows.dtype))


def _free_directions(moment: torch.Tensor, empty: Conditioning) -> torch.Tensor:
    """The projection on what may move, (D, D): little used by what is kept, never by the empty."""
    values, vectors = torch.linalg.eigh(moment)
    free = vectors[:, values < SMALL * values.mean()]  # (D, F)
    tokens = empty.embeddings[0].double()  # (77, D), the start token first
    _, sizes, held = torch.linalg.svd(tokens @ free, full_matrices=False)
    strong = held[sizes.square() > HELD * tokens.square().sum()]  # (H, F)
    left = torch.eye(free.shape[1], dtype=free.dtype) - strong.T @ strong  # (F, F)
    movable: torch.Tensor = free @ left @ free.T
    return movable


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
