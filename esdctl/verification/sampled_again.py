"""Whether stored pictures are what their model makes: some of them are sampled again."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from esdctl.errors import InputError
from esdctl.models.precision import DTYPES
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.progress import Reporter
from esdctl.sampling.pictures import ROWS
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import Pixels, sample_in_memory
from esdctl.storage.atomic import read_jsonl
from esdctl.storage.workspace import Workspace
from esdctl.verification.checks import Check

TOLERANCE = 2  # of 255: what another batch, thread count or library rounds differently


def check_pictures(
    path: Path, count: int, workspace: Workspace, device: torch.device, reporter: Reporter
) -> list[Check]:
    """Sample some stored rows again, spread evenly, and compare.

    A JPEG is compared with the new picture stored likewise.

    Args:
        path: a folder with ``pictures.jsonl``; or a run, whose pictures are looked up in the
            workspace's outputs.
        count: so many rows at most of each folder.
        workspace: where models are looked for.
        device: where to sample.
        reporter: told of each batch.

    Raises:
        InputError: there are no stored pictures.
    """
    folders = list(_folders(path, workspace))
    if not folders:
        raise InputError(
            f"no stored pictures of {path}",
            "give a folder with pictures.jsonl; esdctl evaluate --keep-pictures keeps some",
        )
    return [_check(folder, count, workspace, device, reporter) for folder in folders]


def _folders(path: Path, workspace: Workspace) -> Iterator[Path]:
    if (path / ROWS).is_file():
        yield path
        return
    identity = resolve_model(str(path), workspace).identity()
    for rows in sorted(workspace.outputs.rglob(ROWS)):
        first = next(iter(read_jsonl(rows)), {})
        if first.get("model_digest") == identity:
            yield rows.parent


def _check(
    folder: Path, count: int, workspace: Workspace, device: torch.device, reporter: Reporter
) -> Check:
    rows = read_jsonl(folder / ROWS)
    chosen = [
        rows[index * len(rows) // min(count, len(rows))] for index in range(min(count, len(rows)))
    ]
    allowed = f"within {TOLERANCE} of 255"
    models = {(str(row.get("model")), str(row.get("model_digest"))) for row in chosen}
    if not chosen or len(models) > 1:
        measured = "no rows" if not chosen else "rows of several models"
        return Check("pictures", measured, allowed, False, str(folder))
    name, digest = models.pop()
    pipeline = resolve_model(name, workspace)
    if pipeline.identity() != digest:
        measured = f"made by {name} of another digest, {digest[:16]}"
        return Check("pictures", measured, f"by {pipeline.identity()[:16]}", False, str(folder))
    furthest, worst = _furthest(folder, chosen, pipeline, device, reporter)
    measured = f"{len(chosen)} of {len(rows)}, at most {furthest} apart ({worst})"
    return Check("pictures", measured, allowed, furthest <= TOLERANCE, str(folder))


def _furthest(
    folder: Path,
    rows: Sequence[Mapping[str, object]],
    pipeline: Pipeline,
    device: torch.device,
    reporter: Reporter,
) -> tuple[int, str]:
    """The largest difference of a value from 0 to 255, and the picture that it is in."""
    names = {field.name for field in fields(Picture)}
    known = [{key: value for key, value in row.items() if key in names} for row in rows]
    pictures = [Picture(**settings) for settings in known]  # type: ignore[arg-type]
    model = load(pipeline, device, DTYPES.get(pictures[0].dtype, torch.float32))
    differences = {}
    for picture in pictures:
        made = sample_in_memory(model, [picture], reporter)[0]
        stored = _stored(folder / picture.file)
        again = _as_stored(made, picture.file)
        differences[picture.file] = int(np.abs(again.astype(int) - stored.astype(int)).max())
    worst = max(differences, key=lambda file: differences[file])
    return differences[worst], worst


def _stored(path: Path) -> Pixels:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise InputError(f"cannot read the picture {path}: {error}", "sample it again") from error


def _as_stored(pixels: Pixels, file: str) -> Pixels:
    if not file.endswith(".jpg"):
        return pixels
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="JPEG")
    with Image.open(content) as picture:
        return np.asarray(picture.convert("RGB"))
