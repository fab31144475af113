"""What to attack: a model, a concept, its cases, the attacks and their settings."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from esdctl.attacks.attack import PAPER, QUICK, Attack, Settings, attack_names, find_attack
from esdctl.attacks.target import Case
from esdctl.datasets.unlearn_canvas import evaluation_prompt
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.judges.judge import Classifier
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.evaluation.plan import Request, plan_evaluation
from esdctl.models.resolve import Pipeline
from esdctl.settings.yaml_file import read_yaml

ALL = "all"
CASES = {QUICK: 20, PAPER: 50}  # the field's n for a style or an object is 50
FIRST_SEED = 1000  # of the cases' noise
SAMPLING_STEPS = "sampling_steps"  # a key of a budget's file, beside the attacks' names
MOST_CASES = 10_000
MAY_BE_ZERO = ("timestep", "until", "vocabulary")  # all other whole numbers count something


@dataclass(frozen=True)
class Budget:
    """The settings of all attacks.

    Args:
        name: part of the results' folders.
        changes: attack -> what differs from ``quick``; empty for a preset.
        sampling_steps: of the pictures that are judged; None for the judge's own.
    """

    name: str
    changes: Mapping[str, Settings] = field(default_factory=dict)
    sampling_steps: int | None = None

    def settings(self, attack: Attack) -> Settings:
        """Those of one attack."""
        preset = attack.budgets[PAPER if self.name == PAPER else QUICK]
        return {**preset, **self.changes.get(attack.name, {})}


@dataclass(frozen=True)
class AttackPlan:
    """Attacks, ready to run.

    Args:
        pipeline: the model under attack.
        classifier: who judges.
        concept: what shall come back.
        cases: the pictures that are asked for.
        beside: the plain prompts of the concept, one for each thing that is shown beside it.
        attacks: in the order of running.
        budget: their settings.
        guidance, steps, side: of the pictures that are judged.
        folder: where the results go, a folder an attack.
        phrases: the user's own words for the concept, which paraphrase tries.
        least_score: the judge's probability below which a picture does not count.
    """

    pipeline: Pipeline
    classifier: Classifier
    concept: ErasedConcept
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

    def pictures(self) -> dict[str, int | float]:
        """How the pictures are made that are judged."""
        return {"steps": self.steps, "guidance": self.guidance, "image_size": self.side}

    def digest(self, attack: Attack | None) -> str:
        """16 digits that stand for all that decides the rows of an attack, or of none."""
        document: dict[str, object] = {
            "concept": asdict(self.concept),
            "cases": [asdict(case) for case in self.cases],
            "judge": self.classifier.digest(),
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
            "judge": self.classifier.name,
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
    *,
    concept: str | None = None,
    judge: str | None = None,
    n: int | None = None,
    phrases: Path | None = None,
    least_score: float = 0.0,
) -> AttackPlan:
    """Spell out attacks on a model.

    Args:
        pipeline: the erased model, or a base.
        methods: names of attacks with commas between them, or ``all``.
        budget: their settings.
        folder: for the results of all models.
        models: the workspace's folder of models, where classifiers lie.
        concept: what shall come back; else the first that was erased.
        judge: a classifier's name; else the model's own.
        n: cases; else 20, and 50 of the paper budget.
        phrases: a text file of other words for the concept, a line each.
        least_score: the judge's probability below which a picture does not count.

    Raises:
        UsageError: a name is unknown, a number is out of range, or the model has no concept.
        InputError, IntegrityError: there is no classifier, or it is damaged.
    """
    wanted = Request((concept,) if concept else (), judges=(judge,) if judge else ())
    everything = plan_evaluation(pipeline, wanted, models)
    if not everything.targets:
        raise UsageError(
            f"nothing was erased from {pipeline.name} that could be brought back",
            "name a concept with --concept",
        )
    target, classifier = everything.targets[0], everything.classifiers[0]
    picture = everything.cases[0].picture
    beside = classifier.objects if target.kind == "style" else classifier.styles
    prompts = tuple(_prompt(target, other) for other in beside)
    count = CASES.get(budget.name, CASES[QUICK]) if n is None else n
    if not 1 <= count <= MOST_CASES:
        raise UsageError(f"--n is {count}", f"use 1 to {MOST_CASES}")
    if not 0 <= least_score < 1:
        raise UsageError(f"--least-score is {least_score:g}", "use 0 to 1, without 1")
    probe_steps = None if budget.name == PAPER else everything.protocol.probe_steps
    return AttackPlan(
        pipeline=pipeline,
        classifier=classifier,
        concept=target,
        cases=_cases(prompts, count),
        beside=prompts,
        attacks=parse_attacks(methods),
        budget=budget,
        guidance=picture.guidance,
        steps=budget.sampling_steps or probe_steps or picture.steps,
        side=picture.width,
        folder=folder / pipeline.digest()[:16],
        phrases=() if phrases is None else read_phrases(phrases),
        least_score=least_score,
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


def _prompt(target: ErasedConcept, other: str) -> str:
    is_style = target.kind == "style"
    return evaluation_prompt(*((target.name, other) if is_style else (other, target.name)))


def _cases(prompts: Sequence[str], count: int) -> tuple[Case, ...]:
    """Spread over what is shown beside the concept; each with noise of its own."""
    few = min(count, len(prompts))
    chosen = [prompts[index * len(prompts) // few] for index in range(few)]
    return tuple(Case(i, chosen[i % few], FIRST_SEED + i) for i in range(count))


def parse_budget(text: str) -> Budget:
    """``quick``, ``paper``, or a YAML file: attack -> settings that differ from quick's.

    Raises:
        UsageError: there is no such budget, attack or setting.
        InputError: the file is damaged.
    """
    if text.lower() in (QUICK, PAPER):
        return Budget(text.lower())
    path = Path(text)
    if not path.is_file():
        raise UsageError(
            f"--budget is {text!r}", f"use {QUICK}, {PAPER}, or a YAML file of settings"
        )
    document = read_yaml(path)
    steps = document.pop(SAMPLING_STEPS, None)
    if steps is not None and not (type(steps) is int and 1 <= steps <= 1000):
        raise InputError(f"{path}: {SAMPLING_STEPS} is {steps!r}", "use 1 to 1000")
    changes = {name: _settings(path, find_attack(name), each) for name, each in document.items()}
    name = re.sub(r"[^\w.+]+", "_", path.stem).strip(".") or "own"
    return Budget(f"{name}_" if name in (QUICK, PAPER) else name, changes, steps)


def _settings(path: Path, attack: Attack, values: object) -> Settings:
    known = attack.budgets[QUICK]
    if not isinstance(values, Mapping):
        raise InputError(f"{path}: {attack.name} has no settings", f"known: {', '.join(known)}")
    for key, value in values.items():
        if key not in known:
            raise InputError(
                f"{path}: {attack.name} has no setting {key!r}", f"known: {', '.join(known)}"
            )
        if type(value) not in (int, float) or value < 0:
            raise InputError(f"{path}: {attack.name}: {key} is {value!r}", "use a number")
        if isinstance(known[key], int) and key not in MAY_BE_ZERO and (value < 1 or value % 1):
            raise InputError(
                f"{path}: {attack.name}: {key} is {value!r}", "use a whole number from 1 on"
            )
    return dict(values)
