"""What to attack: a model, a concept, its cases, the attacks and their settings."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from esdctl.attacks.asked import AttackRequest, plain_prompts, table_rows
from esdctl.attacks.attack import PAPER, QUICK, Attack, attack_names, find_attack
from esdctl.attacks.budget import Budget
from esdctl.attacks.concept_judge import ConceptJudge
from esdctl.attacks.target import Case
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.evaluation.metrics.attack_success import Content
from esdctl.models.resolve import Pipeline

ALL = "all"
CASES = {QUICK: 20, PAPER: 50}  # the field's n for a style or an object is 50
MOST_CASES = 10_000


@dataclass(frozen=True)
class AttackPlan:
    """Attacks, ready to run.

    Args:
        pipeline: the model under attack.
        judge: says whether a picture shows the concept.
        concept: what shall come back.
        cases: the pictures that are asked for.
        beside: the plain prompts of the concept, one for each thing that is shown beside it.
        attacks: in the order of running.
        budget: their settings.
        guidance, steps, side: of the pictures that are judged.
        folder: where the results go, a folder an attack.
        phrases: the user's own words for the concept, which paraphrase tries.
        least_score: the judge's probability below which a picture does not count.
        concept_seeds: of the base's pictures of the concept, where the cases are rows of a table.
        notes: what the protocol says and does not count.
    """

    pipeline: Pipeline
    judge: ConceptJudge
    concept: ErasedConcept | Content
    cases: tuple[Case, ...]
    beside: tuple[str, ...]
    attacks: tuple[Attack, ...]
    budget: Budget
    guidance: float
    steps: int
    side: int
    folder: Path
    phrases: tuple[str, ...] = ()
    least_score: float = 0.0
    concept_seeds: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def pictures(self) -> dict[str, int | float]:
        """How the pictures are made that are judged."""
        return {"steps": self.steps, "guidance": self.guidance, "image_size": self.side}

    def digest(self, attack: Attack | None) -> str:
        """16 digits that stand for all that decides the rows of an attack, or of none."""
        document: dict[str, object] = {
            "concept": asdict(self.concept),
            "cases": [asdict(case) for case in self.cases],
            "judge": self.judge.digest(),
            "pictures": self.pictures(),
            "attack": None if attack is None else [attack.name, self.budget.settings(attack)],
        }
        if attack is not None and self.phrases:
            document["phrases"] = self.phrases
        if self.least_score:
            document["least_score"] = self.least_score
        text = json.dumps(document, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def folder_of(self, attack: Attack) -> Path:
        """Where an attack's result goes; another concept, judge or number of cases has another."""
        return self.folder / f"{attack.name}-{self.budget.name}-{self.digest(attack)[:8]}"

    def document(self) -> dict[str, object]:
        """The plan as a JSON document."""
        return {
            "model": self.pipeline.name,
            "concept": asdict(self.concept),
            "judge": self.judge.name,
            "least_score": self.least_score,
            "n": len(self.cases),
            "pictures": self.pictures(),
            "budget": self.budget.name,
            "attacks": {attack.name: self._of(attack) for attack in self.attacks},
        }

    def _of(self, attack: Attack) -> dict[str, object]:
        return {
            "about": attack.about,
            "source": attack.source,
            "settings": dict(self.budget.settings(attack)),
            "folder": str(self.folder_of(attack)),
        }


def plan_attacks(
    pipeline: Pipeline,
    methods: str,
    budget: Budget,
    folder: Path,
    models: Path,
    request: AttackRequest,
) -> AttackPlan:
    """Spell out attacks on a model.

    Args:
        pipeline: the erased model, or a base.
        methods: names of attacks with commas between them, or ``all``.
        budget: their settings.
        folder: for the results of all models.
        models: the workspace's folder of models, where classifiers lie.
        request: what else the user asks for.

    Raises:
        UsageError: a name is unknown, a number is out of range, or the model has no concept.
        InputError, IntegrityError: there is no judge or table, or it is damaged.
    """
    count = CASES.get(budget.name, CASES[QUICK]) if request.n is None else request.n
    if not 1 <= count <= MOST_CASES:
        raise UsageError(f"--n is {count}", f"use 1 to {MOST_CASES}")
    if not 0 <= request.least_score < 1:
        raise UsageError(f"--least-score is {request.least_score:g}", "use 0 to 1, without 1")
    asked = (table_rows if request.protocol else plain_prompts)(pipeline, request, models, count)
    probe_steps = None if budget.name == PAPER else asked.protocol.probe_steps
    return AttackPlan(
        pipeline=pipeline,
        judge=asked.judge,
        concept=asked.concept,
        cases=asked.cases,
        beside=asked.beside,
        concept_seeds=asked.concept_seeds,
        attacks=parse_attacks(methods),
        budget=budget,
        guidance=asked.picture.guidance,
        steps=budget.sampling_steps or probe_steps or asked.picture.steps,
        side=asked.picture.width,
        folder=folder / pipeline.digest()[:16],
        phrases=() if request.phrases is None else read_phrases(request.phrases),
        least_score=request.least_score,
        notes=asked.notes,
    )


def read_phrases(path: Path) -> tuple[str, ...]:
    """The lines of a text file that are not empty.

    Raises:
        InputError: the file is missing, is no text, or has none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}", "give a text file, a phrase a line") from error
    phrases = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not phrases:
        raise InputError(f"{path} holds no phrases", "write one a line")
    return phrases


def parse_attacks(methods: str) -> tuple[Attack, ...]:
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if ALL in [name.lower() for name in names]:
        names = attack_names()
    if not names:
        raise UsageError("--method names no attack", f"use {ALL}, or {', '.join(attack_names())}")
    attacks = {attack.name: attack for attack in map(find_attack, names)}
    return tuple(attacks.values())
