"""How time and memory of training grow with batch, DDIM steps, image size, selected parameters.

    python tests/measurements/scaling.py [--trajectory frozen] [--axes batch,steps] [--work FOLDER]

One thing grows at a time, the rest stays as the pocket preset has it. Each point runs in a process
of its own; its memory is the peak beyond that of the libraries. The table goes to stdout and to
FOLDER/scaling.md, the plot to FOLDER/scaling.png (matplotlib: pip install 'esdctl[report]').
"""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from esdctl.timing.isolated import isolated
from esdctl.timing.training_bench import TrainingCase, figures_of
from tests.measurements.results import Document, kept, show, table

# What grows: the setting, and its values. Pocket's own size is 128 pixels.
AXES: dict[str, tuple[str, tuple[object, ...]]] = {
    "batch": ("batch_size", (1, 2, 4, 8, 16)),
    "steps": ("ddim_steps", (5, 10, 20, 50)),
    "size": ("image_size", (64, 128, 192, 256)),
    "selected": ("train_method", ("esd-x-strict", "xattn", "selfattn", "noxattn", "full")),
}
TITLES = {
    "batch": "latents a step",
    "steps": "DDIM steps",
    "size": "pixels a side",
    "selected": "selected parameters, million",
}
SECONDS, MEMORY, SELECTED = "s a pair", "memory, MB", "selected, million"


def main() -> None:
    """Measure what is missing, then print the table and draw the plot."""
    arguments = _arguments()
    axes = arguments.axes.split(",")
    points = {axis: _points(axis, arguments) for axis in axes}
    rows: list[tuple[object, ...]] = [
        (AXES[axis][0], value, found[SECONDS], found["s a step"], found["forwards a pair"],
         found[MEMORY], found[SELECTED])
        for axis in axes
        for value, found in points[axis]
    ]  # fmt: skip
    columns = ("what grows", "value", SECONDS, "s a step", "forwards a pair", MEMORY, SELECTED)
    title = f"Training on pocket, ESD-x, trajectory {arguments.trajectory}.\n\n"
    show(title + table(columns, rows), arguments.work / "scaling.md")
    _plot(points, arguments.work / "scaling.png")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trajectory", default="frozen", help="exact, frozen or rolling")
    parser.add_argument("--axes", default=",".join(AXES), help="of batch, steps, size, selected")
    parser.add_argument("--work", type=Path, default=Path("outputs/scaling"))
    return parser.parse_args()


def _points(axis: str, arguments: argparse.Namespace) -> list[tuple[object, Document]]:
    key, values = AXES[axis]
    fixed = {
        "model": "pocket", "concept": "Mosaic", "train_method": "xattn", "batch_size": 4,
        "trajectory": arguments.trajectory, "warm_start": False,
    }  # fmt: skip
    return [
        (
            value,
            kept(
                arguments.work / f"{arguments.trajectory}-{axis}-{value}.json",
                lambda value=value: _measured({**fixed, key: value}),  # type: ignore[misc]
            ),
        )
        for value in values
    ]


def _measured(settings: dict[str, object]) -> Document:
    found = isolated(figures_of, TrainingCase("", settings, "pocket"), Path())
    return {**found.value, MEMORY: (found.resident_bytes - found.imported_bytes) / 1e6}


def _plot(points: dict[str, list[tuple[object, Document]]], path: Path) -> None:
    library: Any = import_module("matplotlib.figure")  # an extra, unknown to the type checker
    figure = library.Figure(figsize=(3.2 * len(points), 5.4), layout="constrained")
    grid = figure.subplots(2, len(points), squeeze=False)
    for column, (axis, found) in enumerate(points.items()):
        is_named = axis == "selected"  # methods, placed by how many parameters they select
        for row, name in enumerate((SECONDS, MEMORY)):
            pairs = sorted(
                (each[SELECTED] if is_named else float(str(value)), each[name], str(value))
                for value, each in found
            )
            panel = grid[row][column]
            panel.plot([x for x, _, _ in pairs], [y for _, y, _ in pairs], "o-")
            panel.set(xlabel=TITLES[axis], ylabel=name if column == 0 else "")
            panel.set_ylim(0, 1.15 * max(y for _, y, _ in pairs))
            panel.grid(alpha=0.3)
            if is_named:
                panel.set_xscale("log")
                panel.margins(x=0.2)
                for number, (x, y, label) in enumerate(pairs):
                    below = 16 + 20 * (number % 3)  # points that lie near each other
                    panel.annotate(
                        label, (x, y), (0, -below), textcoords="offset points", fontsize=7,
                        ha="center", arrowprops={"arrowstyle": "-", "lw": 0.4},
                    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
