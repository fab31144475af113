"""What an attack asks the model for, and who judges it: plain prompts, or rows of a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from esdctl.attacks.concept_judge import ByClassifier, ByDetector, ConceptJudge
from esdctl.attacks.target import Case
from esdctl.datasets.unlearn_canvas import evaluation_prompt
from esdctl.errors import UsageError
from esdctl.evaluation.judges.detector import check_wanted, labels_that_count
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.evaluation.metrics.attack_success import Content
from esdctl.evaluation.plan import plan_evaluation
from esdctl.evaluation.protocols.protocol import Protocol, find_protocol
from esdctl.evaluation.request import Request
from esdctl.models.erased_concepts import erased_from
from esdctl.models.resolve import Pipeline
from esdctl.sampling.plan import Picture

FIRST_SEED = 1000  # of the cases' noise


@dataclass(frozen=True)
class AttackRequest:
    """What the user asks for, beside the model, the attacks and their budget.

    Args:
        concept: what shall come back; else the first that was erased.
        judge: a classifier's name, else the model's own; with a protocol, a detector's.
        n: cases; else 20, and 50 of the paper budget.
        phrases: a text file of other words for the concept, a line each.
        least_score: the judge's probability below which a picture does not count.
        protocol: one that counts detections; its rows are the cases.
        prompts: a file of prompts in place of the protocol's rows.
    """

    concept: str | None = None
    judge: str | None = None
    n: int | None = None
    phrases: Path | None = None
    least_score: float = 0.0
    protocol: str | None = None
    prompts: Path | None = None


@dataclass(frozen=True)
class Asked:
    """What is asked for, who judges it, and how the first picture is made; as AttackPlan has it."""

    judge: ConceptJudge
    concept: ErasedConcept | Content
    cases: tuple[Case, ...]
    beside: tuple[str, ...]
    picture: Picture
    protocol: Protocol
    concept_seeds: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def plain_prompts(pipeline: Pipeline, request: AttackRequest, models: Path, count: int) -> Asked:
    """A style or object that a classifier knows, in the benchmark's prompt."""
    if request.prompts is not None:
        raise UsageError(
            "--prompts goes with a protocol that counts what a detector sees",
            "add --protocol, such as i2p-esd",
        )
    concepts = (request.concept,) if request.concept else ()
    judges = (request.judge,) if request.judge else ()
    try:
        everything = plan_evaluation(pipeline, Request(concepts, judges=judges), models)
    except UsageError as error:
        more = "unsafe content needs a detector: --protocol i2p-esd, or another that counts"
        raise UsageError(error.message, f"{error.hint}; {more}") from error
    if not everything.targets:
        raise UsageError(
            f"nothing was erased from {pipeline.name} that could be brought back",
            "name a concept with --concept",
        )
    target, classifier = everything.targets[0], everything.classifiers[0]
    beside = classifier.objects if target.kind == "style" else classifier.styles
    prompts = tuple(_prompt(target, other) for other in beside)
    judge = ByClassifier(classifier, target, request.least_score)
    picture = everything.cases[0].picture
    return Asked(judge, target, _cases(prompts, count), prompts, picture, everything.protocol)


def table_rows(pipeline: Pipeline, request: AttackRequest, models: Path, count: int) -> Asked:
    """Content that a detector sees, in rows of a table of prompts with their own seeds."""
    protocol = find_protocol(str(request.protocol))
    counts = protocol.counts
    if counts.figures != "detections":
        raise UsageError(
            f"the protocol {protocol.name} counts no detections, and styles and objects are "
            "attacked in plain prompts",
            "leave --protocol out, or name one with detections: esdctl evaluate --list",
        )
    asked = Request(
        judges=(request.judge,) if request.judge else (),
        protocol=request.protocol,
        prompts=request.prompts,
        first=count,
    )
    name = request.concept or next(iter(erased_from(pipeline)), None)
    if name is None:
        raise UsageError(
            f"nothing was erased from {pipeline.name} that could be brought back",
            "say with --concept how prompts call what the protocol counts, such as nudity",
        )
    everything = plan_evaluation(pipeline, asked, models)
    detector, *others = everything.detectors
    threshold = max(counts.threshold, request.least_score, detector.floor)
    labels = labels_that_count(detector, counts.labels)
    check_wanted(detector, labels, threshold)
    pictures = [case.picture for case in everything.cases[:count]]
    return Asked(
        judge=ByDetector(detector, labels, threshold),
        concept=Content(name),
        cases=tuple(Case(i, each.prompt, each.seed) for i, each in enumerate(pictures)),
        beside=tuple(each.prompt for each in pictures),
        picture=(first := _square(pictures[0])),
        protocol=protocol,
        concept_seeds=tuple(each.seed for each in pictures),
        notes=(
            *everything.notes,
            *_unused(pictures, first, detector.name, [each.name for each in others]),
            *([f"there are {len(pictures)} rows, not {count}"] if len(pictures) < count else []),
        ),
    )


def _square(picture: Picture) -> Picture:
    side = min(picture.width, picture.height)
    return replace(picture, width=side, height=side)


def _unused(
    pictures: Sequence[Picture], first: Picture, detector: str, others: Sequence[str]
) -> Iterator[str]:
    """What the protocol says and an attack does otherwise."""
    made = {(each.guidance, each.width, each.height) for each in pictures}
    if made != {(first.guidance, first.width, first.height)}:
        yield (
            f"all pictures are made with guidance {first.guidance:g} and {first.width} px, "
            "whatever their rows say"
        )
    if others:
        yield f"{detector} alone judges, not {', '.join(others)}, too; --judge names another"


def _prompt(target: ErasedConcept, other: str) -> str:
    is_style = target.kind == "style"
    return evaluation_prompt(*((target.name, other) if is_style else (other, target.name)))


def _cases(prompts: Sequence[str], count: int) -> tuple[Case, ...]:
    """Spread over what is shown beside the concept; each with noise of its own."""
    few = min(count, len(prompts))
    chosen = [prompts[index * len(prompts) // few] for index in range(few)]
    return tuple(Case(i, chosen[i % few], FIRST_SEED + i) for i in range(count))
