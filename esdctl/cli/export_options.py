"""What ``export`` and ``apply`` share: the options of an erased model's form, and its writing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.output import print_document, print_json, print_path
from esdctl.cli.terminal import reporting

if TYPE_CHECKING:
    from esdctl.checkpoints.changes.lora import Lora
    from esdctl.models.erased import Erased
    from esdctl.models.exports import ExportPlan
    from esdctl.models.families.family import LoraNames
    from esdctl.progress import Reporter

ExportFileOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="The file or folder; else one in outputs/exports. A CompVis checkpoint may end in "
        ".safetensors, .ckpt or .pth.",
    ),
]
DTypeOption = Annotated[
    str | None,
    typer.Option("--dtype", metavar="TYPE", help="fp32, fp16, bf16; else what loses nothing."),
]
RankOption = Annotated[
    int | None, typer.Option("--rank", help="Of each matrix of a LoRA, at most.")
]
EnergyOption = Annotated[
    float | None,
    typer.Option("--energy", help="Of a LoRA: the share of each change to keep; else 0.99."),
]


# Of a transformer's LoRA with its authors' names, what lies outside the blocks; diffusers 0.42.
_DROPPED_OUTSIDE = {
    "bfl": "diffusers drops them, and kohya's tools those of the final layer",
    "bfl2": "kohya's tools drop them, and diffusers the modulations",
}


def write_and_print(
    erased: "Erased", plan: "ExportPlan", dry_run: bool, json: bool, quiet: bool
) -> None:
    """Write the model as planned; print its path, or the whole plan and what a LoRA lost."""
    from esdctl.models.exports import lora_names, notes_on, write_export
    from esdctl.storage.lock import target_lock

    if dry_run:
        return print_document(plan.document(), json)
    with reporting(quiet) as reporter, target_lock(plan.path, reporter):
        for note in notes_on(erased, plan):
            reporter.notice(note)
        lora = write_export(erased, plan)
        if lora is not None:
            layout = lora_names(erased.base.files.architecture.family, plan.form)
            _warn_of_losses(lora, layout, reporter)
    if json:
        return print_json({**plan.document(), **(_losses(lora) if lora else {})})
    return print_path(plan.path)


def _warn_of_losses(lora: "Lora", layout: "LoraNames", reporter: "Reporter") -> None:
    """The relative error of a LoRA, and what it could not hold."""
    ranks = [pair.rank for pair in lora.pairs.values()]
    reporter.notice(
        f"{len(ranks)} matrices of rank {min(ranks)} to {max(ranks)}; "
        f"relative error of their change {lora.error:.3g}"
    )
    from esdctl.checkpoints.changes.lora import passed_over

    count, share = passed_over(lora, layout)
    if count and layout in _DROPPED_OUTSIDE:
        reporter.warning(
            f"{count} of these matrices lie outside the blocks, {share:.0%} of the change; of this "
            f"form {_DROPPED_OUTSIDE[layout]}"
        )
    elif layout == "mmdit":
        reporter.notice("of this form diffusers reads nothing; give it --to lora")
    elif count:
        reporter.warning(
            f"kohya's loader drops {count} of these matrices (first and last convolution, time and "
            f"size embeddings), {share:.0%} of the change; diffusers loads all"
        )
    if lora.left_out:
        reporter.warning(
            f"a LoRA holds no biases and norms: {len(lora.left_out)} changed tensors are left out "
            f"({lora.left_out[0]}, ...); relative error of the whole change "
            f"{lora.error_with_left_out:.3g}"
        )


def _losses(lora: "Lora") -> dict[str, object]:
    return {
        "ranks": {name: pair.rank for name, pair in lora.pairs.items()},
        "relative_error": lora.error,
        "left_out": list(lora.left_out),
        "relative_error_with_left_out": lora.error_with_left_out,
    }
