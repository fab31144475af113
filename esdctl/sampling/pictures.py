"""Pictures on disk: a folder of PNG files and pictures.jsonl, one row each; resumable.

A PNG is renamed into place before its row is appended, so a row always has its picture. A second
run makes only what is missing, and a run that was killed ends with the same bytes.
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from esdctl.errors import Interrupted, UsageError
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.progress import Reporter
from esdctl.sampling.contact_sheet import captioned_sheet, contact_sheet
from esdctl.sampling.plan import Picture, SamplePlan
from esdctl.sampling.sample import TASK, Pixels, batches_of, sample
from esdctl.storage.atomic import append_jsonl, read_jsonl, write_bytes, write_with
from esdctl.storage.digest import sha256_file
from esdctl.storage.disk_errors import guard_disk
from esdctl.storage.lock import target_lock

ROWS = "pictures.jsonl"
CONTACT_SHEET = "contact_sheet.png"
SHEET_COLUMNS = 8
SHEET_SIDE = 160  # pixels of a picture on the sheet

Row = Mapping[str, object]


def make_pictures(
    plan: SamplePlan,
    folder: Path,
    load_model: Callable[[], StableDiffusion],
    batch_size: int,
    reporter: Reporter,
    show: Callable[[Row], None],
) -> list[Row]:
    """Make the plan's pictures that the folder lacks.

    Args:
        plan: what to make.
        folder: new, empty, or one that an earlier call filled.
        load_model: called once, and only if a picture is missing.
        batch_size: at most so many at once.
        reporter: told of each batch.
        show: called with each picture's row as soon as it is on disk, the present ones first.

    Returns:
        All rows in the order of the plan: the picture's settings, ``model``, ``model_digest``, and
        ``sha256`` of the PNG.

    Raises:
        UsageError: the folder holds something else, or pictures with other settings.
        Interrupted: the user pressed Ctrl-C; finished pictures stay.
        StorageError: the disk is full or not writable.
    """
    with guard_disk(folder):
        _check_folder(folder)
    with target_lock(folder, reporter):
        rows = finished_rows(plan, folder)
        try:
            for row in rows.values():
                show(row)
            missing = _unfinished_batches(plan, rows, batch_size)
            if missing:
                reporter.started(TASK, len(plan.pictures), "pictures", done=len(rows))
                for batch in sample(load_model(), missing, batch_size):
                    for picture, pixels in batch:
                        if picture.file in rows:
                            continue
                        rows[picture.file] = _store(plan, picture, pixels, folder)
                        show(rows[picture.file])
                    reporter.advanced(TASK, len(rows))
                reporter.finished(TASK)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; {len(rows)} of {len(plan.pictures)} pictures are in {folder}",
                "run the same command again to make the others",
            ) from None
    return [rows[picture.file] for picture in plan.pictures]


def _unfinished_batches(
    plan: SamplePlan, rows: Mapping[str, Row], batch_size: int
) -> list[Picture]:
    """What to make so that each missing picture has the batch that it would always have had."""
    return [
        picture
        for batch in batches_of(plan.pictures, batch_size)
        if any(other.file not in rows for other in batch)
        for picture in batch
    ]


def finished_rows(plan: SamplePlan, folder: Path) -> dict[str, Row]:
    """The plan's pictures that a folder holds already, by file name, in the order of the plan.

    A picture whose file is gone, or is no longer what its row says, is not among them.

    Raises:
        UsageError: the folder holds pictures of another model, or of the same name with other
            settings.
        InputError: its rows are damaged.
    """
    path = folder / ROWS
    if not path.exists():
        return {}
    written = {str(row.get("file")): row for row in read_jsonl(path)}
    finished: dict[str, Row] = {}
    for picture in plan.pictures:
        row = written.get(picture.file)
        if row is None:
            continue
        differing = [key for key, value in asdict(picture).items() if row.get(key) != value]
        if differing:
            raise _other_settings(folder, picture.file, differing[0])
        file = folder / picture.file
        if file.is_file() and sha256_file(file) == row.get("sha256"):
            finished[picture.file] = row
    for name, row in written.items():
        if row.get("model_digest") != plan.digest:
            raise _other_settings(folder, name, "model")
    return finished


def write_contact_sheet(plan: SamplePlan, folder: Path) -> Path:
    """Lay a folder's pictures out: prompts down, seeds across; captioned where seeds differ.

    Returns:
        The sheet's path in the folder.

    Raises:
        StorageError: the disk is full or not writable.
    """
    sheet = _sheet(plan, {p.file: _open(folder / p.file) for p in plan.pictures})
    path = folder / CONTACT_SHEET
    write_with(path, lambda beside: sheet.save(beside, format="PNG"))
    return path


def _check_folder(folder: Path) -> None:
    """Refuse a folder with anything in it that no earlier call wrote."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "choose another folder with --output")
    if folder.exists() and not (folder / ROWS).exists():
        strangers = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if strangers:
            raise UsageError(
                f"{folder} exists and holds no {ROWS} but {min(strangers)}",
                "choose another folder with --output",
            )
    if not (folder / ROWS).exists():
        write_bytes(folder / ROWS, b"")  # from here on the folder is known as ours


def _store(plan: SamplePlan, picture: Picture, pixels: Pixels, folder: Path) -> Row:
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, format="PNG")
    write_bytes(folder / picture.file, png.getvalue())
    row = {
        **asdict(picture),
        "model": plan.model,
        "model_digest": plan.digest,
        "sha256": hashlib.sha256(png.getvalue()).hexdigest(),
    }
    append_jsonl(folder / ROWS, row)
    return row


def _other_settings(folder: Path, file: str, key: str) -> UsageError:
    return UsageError(
        f"{folder} holds {file} made with another {key}", "choose another folder with --output"
    )


def _open(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.thumbnail((SHEET_SIDE, SHEET_SIDE))  # thousands must fit into the memory
        return picture.convert("RGB")


def _sheet(plan: SamplePlan, images: Mapping[str, Image.Image]) -> Image.Image:
    seeds = list(dict.fromkeys(picture.seed for picture in plan.pictures))
    lines: dict[str, dict[int, Image.Image]] = {}  # row of the prompts file -> seed -> picture
    for picture in plan.pictures:
        lines.setdefault(picture.file.partition("-")[0], {})[picture.seed] = images[picture.file]
    prompts = {picture.file.partition("-")[0]: picture.prompt for picture in plan.pictures}
    if len(seeds) == 1 or len(seeds) * len(lines) > len(images):
        captions = [picture.prompt for picture in plan.pictures]
        columns = min(SHEET_COLUMNS, len(captions))
        return captioned_sheet(list(images.values()), captions, columns, SHEET_SIDE)
    return contact_sheet(
        [[line[seed] for seed in seeds] for line in lines.values()],
        list(prompts.values()),
        [f"seed {seed}" for seed in seeds],
        SHEET_SIDE,
    )
