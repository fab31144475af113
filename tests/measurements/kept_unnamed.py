"""What an edit costs the concepts that nobody named, and how surely it erases.

    python tests/measurements/kept_unnamed.py [--concepts A,B] [--seeds 0,1,2] [--pictures 8]
        [--steps 10] [--rules all,half,corpus,nothing,null-space,uce,exact] [--work FOLDER]
        [--protocol pocket-held-out]

Each concept is erased from pocket by ``train --method edit`` with every second of the others named
(``half``), with the corpus alone, with nothing at all kept but the empty prompt, by the null space
with half of them named, and by UCE's plain rule: half of them named, no ridge to speak of, eta 0;
beside them by ``exact``, batch 1, 50 DDIM steps, 20 updates a concept, nothing kept; ``all`` names
all that stay. ``at-once`` erases five styles and five objects in one edit; ``apply`` edits each of
them alone, half of the others named, and adds the deltas. Pictures of the concept,
and of pairs of which one or both were not named, are judged by the model's own classifier, those of
the base on the same noise beside them. An edit has no random numbers, so the seeds are those of the
pictures; of ``exact`` also its own.
"""

import argparse
import itertools
import random
from dataclasses import replace
from pathlib import Path

import torch

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.erasing.concepts import read_catalogue
from esdctl.erasing.erase import erase
from esdctl.erasing.plan import plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.evaluation.cases import Case
from esdctl.evaluation.judging import classified
from esdctl.evaluation.plan import MODELS, plan_evaluation
from esdctl.evaluation.request import Request
from esdctl.models.erased import apply_all
from esdctl.models.named import POCKET
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.progress import Silent
from esdctl.sampling.sample import sample
from esdctl.storage.workspace import Workspace
from tests.measurements.results import Document, kept, show, table

CONCEPTS = "Abstractionism,Van_Gogh,Mosaic,Dogs,Butterfly,Towers"
AT_ONCE = (
    "Abstractionism", "Van_Gogh", "Mosaic", "Winter", "Sketch",
    "Dogs", "Butterfly", "Towers", "Trees", "Horses",
)  # fmt: skip
EDIT: Document = {"method": "edit", "retain_all": False, "contact_sheet": False}
RULES: dict[str, Document] = {
    "all": {"method": "edit", "retain_all": True, "contact_sheet": False},
    "half": {**EDIT},
    "corpus": {**EDIT, "corpus": True},
    "nothing": {**EDIT},
    "null-space": {**EDIT, "edit_rule": "null-space", "ridge": 1e-3},
    "apply": {**EDIT},
    "uce": {**EDIT, "ridge": 1e-3, "negative_guidance": 0.0},
    "exact": {
        "method": "esd", "retain_all": False, "trajectory": "exact", "batch_size": 1,
        "ddim_steps": 50, "contact_sheet": False, "train_method": "xattn",
    },
}  # fmt: skip
UPDATES = 20  # of ``exact``, a concept
NAMED_HALF = ("half", "null-space", "uce", "apply")
CPU = torch.device("cpu")
COLUMNS = ("concept", "rule", "UA, %", "IRA, % of base", "CRA, % of base", "pictures of others")


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    concepts, rules = arguments.concepts.split(","), arguments.rules.split(",")
    found: dict[tuple[str, str], list[Document]] = {}
    for seed in map(int, arguments.seeds.split(",")):  # whole tables, one seed after the other
        for concept, rule in itertools.product(concepts, ("base", *rules)):
            targets = list(AT_ONCE) if concept == "at-once" else [concept]
            measured = _found(targets, concept, rule, seed, arguments)
            found.setdefault((concept, rule), []).append(measured)
        rows = [
            (concept, rule, *_cells(found[concept, rule], found[concept, "base"]))
            for concept, rule in itertools.product(concepts, rules)
        ]
        show(table(COLUMNS, rows), arguments.work / "kept_unnamed.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--concepts", default=CONCEPTS, help="names, or at-once")
    parser.add_argument("--rules", default="half,corpus,nothing,null-space,uce,exact")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument(
        "--pictures", type=int, default=8, help="of the concept, and twice of others"
    )
    parser.add_argument("--protocol", help="whose prompts; the usual ones by default")
    parser.add_argument("--steps", type=int, default=10, help="DDIM steps of a picture")
    parser.add_argument("--work", type=Path, default=Path("outputs/kept_unnamed"))
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    return arguments


def _found(
    targets: list[str], concept: str, rule: str, seed: int, arguments: argparse.Namespace
) -> Document:
    def measured() -> Document:
        pipeline = Pipeline("pocket", POCKET)
        if rule == "apply":
            pipeline = _added(targets, seed, arguments.work)
        elif rule != "base":
            pipeline = _erased(targets, rule, seed, arguments.work)
        return _judged(pipeline, targets, seed, arguments)

    return kept(arguments.work / f"{concept}-{rule}-{seed}.json", measured)


def _erased(targets: list[str], rule: str, seed: int, work: Path) -> Pipeline:
    workspace = Workspace(work)
    settings = {"model": "pocket", "concept": targets, "devices": "cpu", **RULES[rule]}
    if rule == "exact":
        settings |= {"seed": seed, "iterations": UPDATES * len(targets)}
    if rule in NAMED_HALF:
        settings["retain"] = _named(targets)
    plan = plan_erase(EraseRequest(settings), workspace)
    run = erase(plan, ["kept_unnamed.py"], Silent(), lambda: False)
    return resolve_model(str(run.path), workspace)


def _added(targets: list[str], seed: int, work: Path) -> Pipeline:
    """The sum of an edit of each target alone."""
    workspace, path = Workspace(work), work / "added.safetensors"
    runs = [str(_erased([target], "apply", seed, work).delta) for target in targets]
    added, _ = apply_all(runs, "pocket", 1.0, False, workspace)
    about = {key: value for key, value in added.about.items() if key != "format"}
    write_delta(path, added.tensors, about)
    return resolve_model(str(path), workspace)


def _named(targets: list[str]) -> list[str]:
    """Every second of all other concepts."""
    catalogue = read_catalogue(POCKET)
    assert catalogue is not None
    names = (*catalogue.styles, *catalogue.objects)
    return [name for name in names if name not in targets][::2]


def _judged(
    pipeline: Pipeline, targets: list[str], seed: int, arguments: argparse.Namespace
) -> Document:
    base = Pipeline("pocket", POCKET)
    request = Request(tuple(targets), (seed,), protocol=arguments.protocol)
    plan = plan_evaluation(base, request, MODELS)
    named = _named(targets)
    mine, others = _chosen(plan.cases, targets, named, arguments.pictures, seed)
    cases = [
        replace(case, picture=replace(case.picture, steps=arguments.steps))
        for case in (*mine, *others)
    ]
    model = load(pipeline, CPU)
    classify = plan.classifiers[0].load(CPU, Silent())
    pictures = [case.picture for case in cases]
    made = {picture: pixels for batch in sample(model, pictures, 16) for picture, pixels in batch}
    rows = classified(classify, cases, [made[picture] for picture in pictures])
    style = [row.predicted("style") == case.style for row, case in zip(rows, cases, strict=True)]
    thing = [row.predicted("object") == case.object for row, case in zip(rows, cases, strict=True)]
    own: dict[str, list[bool]] = {}
    for index, case in enumerate(mine):
        for name in targets:
            if name in (case.style, case.object):
                right = style if name == case.style else thing
                own.setdefault(name, []).append(not right[index])
    count = len(mine)
    return {
        "ua": own, "style": style[count:], "object": thing[count:], "others": len(others),
    }  # fmt: skip


def _chosen(
    cases: tuple[Case, ...], targets: list[str], named: list[str], count: int, seed: int
) -> tuple[list[Case], list[Case]]:
    """Pictures of each target, and of others of which at least one was not named."""
    drawn = random.Random(seed)
    mine: list[Case] = []
    for name in targets:
        asked = [case for case in cases if name in (case.style, case.object)]
        mine += drawn.sample(asked, min(len(asked), count))
    others = [
        case
        for case in cases
        if not {case.style, case.object} & set(targets)
        and not {case.style, case.object} <= set(named)
    ]
    return mine, drawn.sample(others, min(len(others), 2 * count))


def _cells(found: list[Document], base: list[Document]) -> list[str]:
    unlearnt: dict[str, list[bool]] = {}
    for each in found:
        for name, gone in each["ua"].items():
            unlearnt.setdefault(name, []).extend(gone)
    ua = [100 * sum(gone) / len(gone) for gone in unlearnt.values()]
    shown = [f"{min(ua):.0f}" if len(ua) == 1 else f"{min(ua):.0f} to {max(ua):.0f}"]
    for name in ("style", "object"):
        mine, its = (sum(sum(each[name]) for each in some) for some in (found, base))
        shown.append(f"{100 * mine / its:.0f}")
    return [*shown, str(sum(each["others"] for each in found))]


if __name__ == "__main__":
    main()
