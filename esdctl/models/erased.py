"""An erased model: its base, and the new values of some of the U-Net's parameters."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from esdctl.checkpoints.changes.apply import (
    add_changes,
    is_change,
    open_change,
    refuse_another_base,
)
from esdctl.checkpoints.changes.export import Parts
from esdctl.checkpoints.safetensors.metadata import (
    erased_names,
    recorded_folder,
    written_names,
)
from esdctl.errors import InputError, UsageError
from esdctl.models.named import DELTA_NAME, run_path
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.progress import Reporter, Silent
from esdctl.storage.digest import sha256_file
from esdctl.storage.workspace import Workspace

# What a delta says of itself that is still true of a sum of several when all of them say the same.
_SHARED = ("concept_kind", "train_method", "version", "erase_from")


@dataclass(frozen=True)
class Erased:
    """A base and what an erasure changed.

    Args:
        name: short, for file names.
        base: the base's files, without a delta.
        tensors: diffusers names -> new values; empty for the base itself.
        about: the delta's metadata: concept, train_method, base, base_digest, settings.
    """

    name: str
    base: Pipeline
    tensors: Mapping[str, torch.Tensor]
    about: Mapping[str, str]

    def parts(self) -> Parts:
        """Every part's tensors, the new values in place."""
        files = self.base.files
        parts = {part: files.read(part) for part in files.parts}
        return {**parts, files.denoiser: {**parts[files.denoiser], **self.tensors}}

    def changes(self) -> Iterator[tuple[str, torch.Tensor]]:
        """New minus old value of each parameter, in fp32, one at a time."""
        base = self.base.files.read(self.base.files.denoiser)
        for name, value in self.tensors.items():
            yield name, value.float() - base[name].float()


def open_erased(
    name: str,
    workspace: Workspace,
    base: str | None = None,
    reporter: Reporter = Silent(),  # noqa: B008
    supplier: str | None = None,
) -> Erased:
    """Find an erased model, or a base.

    Args:
        name: a run folder, a delta, or whatever else names a model.
        workspace: where named models lie.
        base: what a delta stands on, where it does not say so itself.
        reporter: told of a slow first reading.
        supplier: as for ``resolve_model``.

    Raises:
        InputError: there is no such model, or the run is not finished.
        IntegrityError: the delta's base is another model now.
    """
    pipeline = resolve_model(name, workspace, base=base, supplier=supplier, reporter=reporter)
    if pipeline.delta is None:
        return Erased(_short(Path(pipeline.name)), pipeline, {}, {})
    about = dict(open_change(pipeline.delta).about)
    named = replace(pipeline, name=base or about.get("base", ""), delta=None)
    tensors = pipeline.changed()
    return Erased(_short(pipeline.delta), named, tensors, about)


def open_both(
    names: tuple[str, str],
    workspace: Workspace,
    base: str | None = None,
    reporter: Reporter = Silent(),  # noqa: B008
    supplier: str | None = None,
) -> tuple[Erased, Erased]:
    """Find two models to compare.

    Args:
        names: as for ``open_erased``.
        workspace: where named models lie.
        base: what those of them stand on that change a model and do not say which.
        reporter: told of a slow first reading.
        supplier: as for ``resolve_model``, of those of the models that are files.

    Raises:
        InputError, IntegrityError: as for ``open_erased``.
        UsageError: a base is named, and both models say what they stand on.
    """
    first, second = (base if _names_no_base(name) else None for name in names)
    if base is not None and first is None and second is None:
        raise UsageError(
            f"--base is {base}, but both models stand on their own or name their base",
            "leave --base out",
        )
    one, two = (supplier if Path(name).expanduser().is_file() else None for name in names)
    return (
        open_erased(names[0], workspace, first, reporter, one),
        open_erased(names[1], workspace, second, reporter, two),
    )


def _names_no_base(name: str) -> bool:
    path = Path(name).expanduser()
    return path.is_file() and is_change(path) and "base" not in open_change(path).about


def apply_all(
    names: Sequence[str],
    base_name: str | None,
    scale: float,
    force: bool,
    workspace: Workspace,
    reporter: Reporter = Silent(),  # noqa: B008
    supplier: str | None = None,
) -> tuple[Erased, list[str]]:
    """Add the changes of several erasures to one base.

    Args:
        names: run folders, deltas, authors' deltas or LoRAs.
        base_name: the base; None for the one that all of them name.
        scale: of every change; 1 is the whole erasure.
        force: take another base than the one that a delta was made from.
        workspace: where named models lie.
        reporter: told of a slow first reading.
        supplier: as for ``resolve_model``; None for what the changes say.

    Returns:
        The sum, and what the user should know.

    Raises:
        InputError: a file is missing or is no erasure.
        IntegrityError: one was made from another base, or does not fit.
        UsageError: no base is named.
    """
    changes = [open_change(_delta_file(run_path(Path(name), workspace))) for name in names]
    named = base_name or _common_base([c.about for c in changes])
    folders = [recorded_folder(c.about) for c in changes if c.about.get("base") == named]
    folder = supplier or next((str(folder) for folder in folders if folder is not None), None)
    base = resolve_model(named, workspace, supplier=folder, reporter=reporter)
    if base.delta is not None:
        raise UsageError(f"{base.name} is erased already", "name its base, and apply both deltas")
    digest = base.base_digest()
    notes = []
    if not force:
        silent = refuse_another_base(changes, base.name, digest)
        notes += [f"{name} does not say which base it was made from" for name in silent]
    tensors = add_changes(changes, base.files.read(base.files.denoiser), scale)
    about = _sum_of([change.about for change in changes]) | {
        "base": base.name,
        "base_digest": digest,
        "sum": json.dumps(
            [
                {
                    "file": change.file.path.name,
                    "sha256": sha256_file(change.file.path),
                    "concept": change.about.get("concept", ""),
                    "scale": scale,
                }
                for change in changes
            ]
        ),
    }
    label = "+".join(_short(change.file.path) for change in changes)[:80]
    return Erased(label, base, tensors, about), notes


def _delta_file(path: Path) -> Path:
    """The file of a run folder, or the file itself."""
    if not path.is_dir():
        return path
    if not (path / DELTA_NAME).is_file():
        raise InputError(
            f"{path} holds no {DELTA_NAME}", "give a finished run folder, a delta or a LoRA"
        )
    return path / DELTA_NAME


def _common_base(abouts: Sequence[Mapping[str, str]]) -> str:
    named = {about["base"] for about in abouts if about.get("base")}
    if len(named) != 1:
        what = "name several bases" if named else "name no base"
        raise UsageError(f"the deltas {what}", "name the base: --base MODEL")
    return named.pop()


def _sum_of(abouts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What is true of the sum: all concepts, and whatever every part agrees on."""
    if len(abouts) == 1:
        return {key: value for key, value in abouts[0].items() if key != "format"}
    concepts = dict.fromkeys(name for about in abouts for name in erased_names(about))
    first = abouts[0]
    shared = {
        key: first[key]
        for key in _SHARED
        if key in first and all(about.get(key) == first[key] for about in abouts)
    }
    if not concepts:
        return shared
    listed = ", ".join(dict.fromkeys(concept.name for concept in concepts))
    return {**shared, "concept": listed, "concepts": written_names(concepts)}


def _short(path: Path) -> str:
    """A run folder's name, or a file's without its suffix."""
    return path.parent.name if path.name == DELTA_NAME else path.stem or path.name
