"""Pictures on disk: a folder of PNG or JPEG files and pictures.jsonl, one row each; resumable.

A picture is renamed into place before its row is appended, so a row always has its picture. A
second run makes only what is missing, and a run that was killed ends with the same bytes.
"""

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from PIL import Image

from esdctl.errors import Interrupted, UsageError
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import cut_prompts
from esdctl.progress import Reporter
from esdctl.sampling.contact_sheet import GAP, captioned_sheet, contact_sheet, square_columns
from esdctl.sampling.plan import FP32, BatchSize, Picture, SamplePlan
from esdctl.sampling.sample import TASK, Pixels, auto_batch_size, batches_of, sample
from esdctl.sampling.schedulers import DDIM
from esdctl.storage.atomic import append_jsonl, read_jsonl, write_bytes, write_with
from esdctl.storage.digest import sha256_file
from esdctl.storage.disk_errors import guard_disk
from esdctl.storage.lock import target_lock

ROWS = "pictures.jsonl"
CONTACT_SHEET = "contact_sheet.png"
SHEET_SIDE = 160  # pixels of a picture on the sheet
SHEET_WIDTH = 8000  # pixels of the whole sheet, about; larger ones fill the memory of viewers
READABLE = 60  # pixels; a caption above a smaller picture says nothing
TABLE_RATIO, TABLE_SIDE = 6, 24  # of prompts x seeds; longer tables are strips

Row = Mapping[str, object]


def make_pictures(
    plan: SamplePlan,
    folder: Path,
    load_model: Callable[[], StableDiffusion],
    batch_size: BatchSize,
    reporter: Reporter,
    show: Callable[[Row], None],
) -> list[Row]:
    """Make the plan's pictures that the folder lacks.

    Args:
        plan: what to make.
        folder: new, empty, or one that an earlier call filled.
        load_model: called once, and only if a picture is missing.
        batch_size: at most so many at once; ``auto`` fits the memory.
        reporter: told of each batch.
        show: called with each picture's row as soon as it is on disk, the present ones first.

    Returns:
        All rows in the order of the plan: the picture's settings, ``model``, ``model_digest``, and
        ``sha256`` of the file.

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
            if len(rows) < len(plan.pictures):
                model = load_model()
                for note in cut_prompts(model, (picture.prompt for picture in plan.pictures)):
                    reporter.warning(note)
                size = batch_size
                if size == "auto":
                    size = auto_batch_size(model, plan.pictures)
                missing = _unfinished_batches(plan, rows, size)
                reporter.started(TASK, len(plan.pictures), "pictures", done=len(rows))
                with closing(sample(model, missing, size)) as batches:
                    for batch in batches:
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
        usual = {"scheduler": DDIM, "dtype": FP32}
        wanted, found = ({**usual, **each} for each in (picture.document(), row))
        differing = [key for key, value in wanted.items() if found.get(key) != value]
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
    write_with(path, lambda temporary: sheet.save(temporary, format="PNG"))
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
    content = io.BytesIO()
    form = "JPEG" if picture.file.endswith(".jpg") else "PNG"
    Image.fromarray(pixels).save(content, format=form)  # JPEG with Pillow's quality of 75
    write_bytes(folder / picture.file, content.getvalue())
    row = {
        **picture.document(),
        "model": plan.model,
        "model_digest": plan.digest,
        "sha256": hashlib.sha256(content.getvalue()).hexdigest(),
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
    """Prompts down and seeds across where that is a table; else about a square with captions."""
    lines: dict[str, list[Picture]] = {}  # row of the prompts -> its pictures
    for picture in plan.pictures:
        lines.setdefault(_row_of(picture), []).append(picture)
    side = _sheet_side(len(plan.pictures))
    rows, seeds = list(lines.values()), [picture.seed for picture in next(iter(lines.values()))]
    if _is_table(rows, seeds):
        return contact_sheet(
            [[images[picture.file] for picture in row] for row in rows],
            [row[0].prompt for row in rows],
            [f"seed {seed}" for seed in seeds],
            side,
        )
    longest = max(len(row) for row in rows)
    columns = square_columns(len(images), longest)
    title, captions = "", [picture.prompt for picture in plan.pictures]
    if len(rows) == 1 and longest > 1:
        title, captions = captions[0], [f"seed {seed}" for seed in seeds]
    elif longest > 1:
        captions = [f"seed {picture.seed}: {picture.prompt}" for picture in plan.pictures]
    if side < READABLE:
        captions = [""] * len(captions)
    return captioned_sheet(list(images.values()), captions, columns, side, title=title)


def _is_table(rows: Sequence[Sequence[Picture]], seeds: Sequence[int]) -> bool:
    """Whether all rows have the same seeds, several, in a table that is no strip."""
    counts = len(rows), len(seeds)
    return (
        min(counts) > 1
        and max(counts) <= TABLE_RATIO * min(counts)
        and max(counts) <= TABLE_SIDE
        and all([picture.seed for picture in row] == list(seeds) for row in rows)
    )


def _row_of(picture: Picture) -> str:
    """A picture's file name without its seed."""
    return re.sub(r"(-|_seed)\d+\.\w+$", "", picture.file)


def _sheet_side(count: int) -> int:
    """Pixels of a picture on the sheet: fewer where there are very many."""
    return max(8, min(SHEET_SIDE, SHEET_WIDTH // square_columns(count) - GAP))
