"""One step: the rows it trains on, what the frozen copy and the student say there, and the loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.erasing.esd.objective import esd_loss, esd_target, retain_loss
from esdctl.erasing.esd.student import Student


@dataclass(frozen=True)
class Embeddings:
    """Everything the text encoders are needed for, computed once.

    Args:
        prompts: of the erased concept, P rows.
        erase_from: of the prompt it is erased from, one row; or a row for each of ``prompts``,
            where they are not erased from one; or None.
        retained: of the retained prompts, R rows, or None.
        empty: of the empty prompt, one row.
        drawn: of prompts that no step asks for, by which pictures are drawn afterwards: a row each.
    """

    prompts: Conditioning
    erase_from: Conditioning | None
    retained: Conditioning | None
    empty: Conditioning
    drawn: Mapping[str, Conditioning] = field(default_factory=dict)

    def to(self, device: torch.device) -> "Embeddings":
        """What steps ask for, on another device."""
        return Embeddings(
            self.prompts.to(device),
            None if self.erase_from is None else self.erase_from.to(device),
            None if self.retained is None else self.retained.to(device),
            self.empty.to(device),
        )


@dataclass(frozen=True)
class Conditions:
    """What is asked at B rows.

    Args:
        empty: 0.
        concept: c.
        source: f, the prompt that c is erased from; None without erase-from.
        retained: k; None where nothing is retained.
    """

    empty: Conditioning
    concept: Conditioning
    source: Conditioning | None
    retained: Conditioning | None

    @property
    def asked(self) -> Conditioning:
        """What the student is trained on, and what x_t is sampled with."""
        return self.concept if self.source is None else self.source


@dataclass(frozen=True)
class Frozen:
    """eps* at the same (x_t, t) under each of the conditions, (B, 4, h, w) each."""

    empty: torch.Tensor
    concept: torch.Tensor
    source: torch.Tensor | None
    retained: torch.Tensor | None

    def target(self, eta: float) -> torch.Tensor:
        """What the student is drawn to, (B, 4, h, w)."""
        source = self.empty if self.source is None else self.source
        return esd_target(source, self.concept, self.empty, eta)


def _nothing(prediction: torch.Tensor) -> None:
    """Most trajectories do not care what the student predicts."""


@dataclass(frozen=True)
class Pairs:
    """What one step trains on.

    Args:
        x_t: (B, 4, h, w), without gradient.
        t: (B,), 0..999.
        conditions: B rows each.
        frozen: gives the frozen predictions, computed or kept.
        follow: is given the student's predictions of this step, (B, 4, h, w), before it moves.
    """

    x_t: torch.Tensor
    t: torch.Tensor
    conditions: Conditions
    frozen: Callable[[], Frozen]
    follow: Callable[[torch.Tensor], None] = _nothing


@dataclass(frozen=True)
class Loss:
    """The terms of one step's loss, scalars, and the student's predictions, (B, 4, h, w)."""

    erase: torch.Tensor
    retain: torch.Tensor | None
    prediction: torch.Tensor

    def total(self, retain_weight: float) -> torch.Tensor:
        return self.erase if self.retain is None else self.erase + retain_weight * self.retain


def step_loss(student: Student, pairs: Pairs, eta: float) -> Loss:
    """Ask the frozen copy and the student at the step's rows, and compare.

    The student answers for the concept and for what is retained in one pass.

    Args:
        student: gives both predictions.
        pairs: the rows.
        eta: negative guidance.

    Returns:
        The terms of the loss, with gradients for the selected parameters.
    """
    conditions = pairs.conditions
    asked = [conditions.asked]
    if conditions.retained is not None:
        asked.append(conditions.retained)

    def ask_student() -> tuple[torch.Tensor, ...]:
        return _in_one_pass(student.denoise, pairs.x_t, pairs.t, asked)

    frozen, (prediction, *of_retained) = student.predict_both(pairs.frozen, ask_student)
    erase = esd_loss(prediction, frozen.target(eta))
    retain = retain_loss(of_retained[0], frozen.retained) if frozen.retained is not None else None
    return Loss(erase, retain, prediction.detach())


def ask_frozen(
    student: Student, x_t: torch.Tensor, t: torch.Tensor, conditions: Conditions
) -> Frozen:
    """The frozen predictions under all conditions, in one pass.

    Args:
        student: gives them.
        x_t: (B, 4, h, w).
        t: (B,).
        conditions: B rows each.
    """
    named = {"empty": conditions.empty, "concept": conditions.concept}
    named |= {} if conditions.source is None else {"source": conditions.source}
    named |= {} if conditions.retained is None else {"retained": conditions.retained}
    answers = _in_one_pass(student.denoise_frozen, x_t, t, list(named.values()))
    found = dict(zip(named, answers, strict=True))
    return Frozen(found["empty"], found["concept"], found.get("source"), found.get("retained"))


def _in_one_pass(
    denoise: Callable[[torch.Tensor, torch.Tensor, Conditioning], torch.Tensor],
    x_t: torch.Tensor,
    t: torch.Tensor,
    asked: list[Conditioning],
) -> tuple[torch.Tensor, ...]:
    """The predictions at the same rows under each of N conditions, in one pass of N B rows."""
    count = len(asked)
    answer = denoise(torch.cat([x_t] * count), torch.cat([t] * count), concatenate(asked))
    return answer.chunk(count)


def _sources(
    rows: Conditioning | None,
    prompts: list[int],
    repeat: Callable[[Conditioning], Conditioning],
    pick: Callable[[Conditioning, list[int]], Conditioning],
) -> Conditioning | None:
    """What each row is erased from: the only source, or that of its prompt."""
    if rows is None:
        return None
    return repeat(rows) if len(rows) == 1 else pick(rows, prompts)


def conditions_of(
    embeddings: Embeddings, prompts: list[int], retained: list[int] | None, device: torch.device
) -> Conditions:
    """The conditions of B rows by their numbers.

    Args:
        embeddings: of all prompts.
        prompts: which of the concept's prompts, one a row.
        retained: which retained prompt, one a row; None where nothing is retained.
        device: where they are wanted.
    """
    count = len(prompts)

    def pick(rows: Conditioning, numbers: list[int]) -> Conditioning:
        return concatenate([rows[number] for number in numbers]).to(device)

    def repeat(row: Conditioning) -> Conditioning:
        return row.to(device).expand(count)

    return Conditions(
        empty=repeat(embeddings.empty),
        concept=pick(embeddings.prompts, prompts),
        source=_sources(embeddings.erase_from, prompts, repeat, pick),
        retained=None
        if embeddings.retained is None or retained is None
        else pick(embeddings.retained, retained),
    )
