"""``esdctl attack``: what an erased model shows again once somebody searches for it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.completion import complete_model
from esdctl.cli.options import (
    BaseModelOption,
    DeviceOption,
    DryRunOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RootOption,
    SupplierOption,
)
from esdctl.cli.output import print_document, print_json, print_path
from esdctl.cli.terminal import reporting, show_table
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.attacks.plan import AttackPlan
    from esdctl.evaluation.metrics.attack_success import AttackResult
    from esdctl.evaluation.metrics.intervals import Percent

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN|NAME|PATH",
        help="An erased model; or a base, with --concept.",
        autocompletion=complete_model,
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME,...|all",
        help="Attacks, or all of them. esdctl guide attacks says what each does.",
    ),
]
BudgetOption = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="quick|paper|FILE",
        help="quick, the papers' own, or a YAML file: attack -> settings that differ from quick's.",
    ),
]
ConceptOption = Annotated[
    str | None,
    typer.Option("--concept", help="What shall come back; else the first that was erased."),
]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="NAME",
        help=(
            "Who judges: pocket or style50 (the model's own, else UnlearnCanvas's in "
            "models/classifiers); with --protocol a detector."
        ),
    ),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME|FILE",
        help=(
            "For content that a detector sees: a protocol that counts detections, such as "
            "i2p-esd. Its rows are the cases, with their own seeds."
        ),
    ),
]
PromptsOption = Annotated[
    Path | None,
    typer.Option(
        "--prompts", metavar="FILE", help="With --protocol: rows in place of the protocol's."
    ),
]
PhrasesOption = Annotated[
    Path | None,
    typer.Option(
        "--phrases",
        metavar="FILE",
        help="For paraphrase: other words for the concept, a line each.",
    ),
]
LeastScoreOption = Annotated[
    float,
    typer.Option(
        "--least-score",
        metavar="P",
        help="Count a picture only if the judge gives the concept this probability or more.",
    ),
]
CountOption = Annotated[
    int | None, typer.Option("--n", min=1, help="Cases. Default 20; 50 of the paper budget.")
]


def attack(
    model: ModelArgument,
    method: MethodOption = "all",
    budget: BudgetOption = "quick",
    concept: ConceptOption = None,
    judge: JudgeOption = None,
    protocol: ProtocolOption = None,
    prompts: PromptsOption = None,
    n: CountOption = None,
    least_score: LeastScoreOption = 0.0,
    phrases: PhrasesOption = None,
    base: BaseModelOption = None,
    pipeline: SupplierOption = None,
    output: OutputOption = None,
    device: DeviceOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Try to bring an erased concept back; print each attack's result.

    Asks for the concept in n plain prompts (with --protocol in the first n of its rows, judged by
    its detector), then attacks the cases that do not show it. Prints the path of each attack's
    result.json, or the results with --json; the attack success rate is (cases shown before + new
    ones) / n. What brought the concept back and the pictures of it lie beside the result, in
    outputs/attacks (or --output). Repeat the command after an interruption: finished cases are
    kept.

    A failed attack proves little: a larger budget or another attack may succeed.
    """
    from esdctl.attacks.asked import AttackRequest
    from esdctl.attacks.budget import parse_budget
    from esdctl.attacks.plan import plan_attacks
    from esdctl.attacks.run import run_attacks
    from esdctl.evaluation.judges.find import parse_classifier
    from esdctl.models.devices import find_device
    from esdctl.models.resolve import resolve_model

    workspace = find_workspace(root)
    settings = parse_budget(budget)
    asked_judge = judge if judge is None or protocol else parse_classifier(judge)
    with reporting(quiet) as reporter:
        plan = plan_attacks(
            resolve_model(model, workspace, base=base, supplier=pipeline, reporter=reporter),
            method,
            settings,
            output or workspace.outputs / "attacks",
            workspace.models,
            AttackRequest(concept, asked_judge, n, phrases, least_score, protocol, prompts),
        )
        for note in plan.notes:
            reporter.notice(note)
    if dry_run:
        return print_document(plan.document(), json)

    def show(path: Path, result: "AttackResult") -> None:
        if not json:
            print_path(path)

    with reporting(quiet) as reporter:
        results = run_attacks(plan, find_device(device), reporter, sys.argv, show)
    if not quiet:
        _show(plan, results)
    if json:
        print_json([result.document() for result in results])
    return None


def _show(plan: "AttackPlan", results: list["AttackResult"]) -> None:
    """A row an attack, on stderr."""
    title = (
        f"Attacks on {plan.concept.name}, {len(plan.cases)} cases, budget {plan.budget.name} "
        f"(judged by {_judge(plan)}, {plan.steps} DDIM steps, "
        f"guidance {plan.guidance:g}, 95 % intervals)"
    )
    rows = [
        (
            result.attack,
            str(result.before),
            str(result.new_successes),
            _cell(result.asr),
            f"{result.seconds:.0f}",
        )
        for result in results
    ]
    show_table(title, ("attack", "before", "new", "ASR %", "seconds"), rows)


def _judge(plan: "AttackPlan") -> str:
    name = plan.judge.name
    return f"{name} from {plan.least_score:g} on" if plan.least_score else name


def _cell(figure: "Percent") -> str:
    return f"{figure.percent:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
