"""Which pictures stand before and after: the same noise and prompt, by the base and the erased."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from esdctl.errors import InputError
from esdctl.evaluation.report.embedding import Crop
from esdctl.evaluation.report.run import Run
from esdctl.evaluation.report.unsafe import Flags, read_flags
from esdctl.sampling.contact_sheet import COLUMNS_TEXT, squares_of_sheet
from esdctl.storage.atomic import read_jsonl

ROWS = "pictures.jsonl"


@dataclass(frozen=True)
class Pair:
    """One prompt and noise, drawn by both models.

    Args:
        before, after: by the base, and by the erased model.
        caption: the prompt or its label; "" where it is not known.
        seed: of the noise, where it is known.
        shows_target: whether the erased concept was asked for; None where that is not known.
        flagged: whether a detector flagged one of the two; None where none looked at both and
            flagged neither.
    """

    before: Crop
    after: Crop
    caption: str = ""
    seed: int | None = None
    shows_target: bool | None = None
    flagged: bool | None = None


@dataclass(frozen=True)
class Pairs:
    """The pairs of a run, and where they are from: ``evaluation``, ``sheet``, or ``none``."""

    pairs: tuple[Pair, ...]
    source: str


def find_pairs(run: Run, limit: int) -> Pairs:
    """The best pairs that are on disk: kept by an evaluation, else cut from the contact sheet.

    Args:
        run: whose pictures.
        limit: at most so many; half of them of the target.

    Raises:
        InputError: the rows of kept pictures or of a detector are damaged, or the sheet is no
            picture.
    """
    flags = read_flags(run)
    for folder, base_folder in _kept_folders(run):
        pairs = _from_folders(folder, base_folder, run, flags)
        if pairs:
            return Pairs(_chosen(pairs, limit), "evaluation")
    sheet = run.path / "contact_sheet.png"
    if sheet.is_file():
        return Pairs(_chosen(_from_sheet(sheet), limit), "sheet")
    return Pairs((), "none")


def _kept_folders(run: Run) -> list[tuple[Path, Path]]:
    """Folders of both models' pictures under one setting, the fullest first."""
    if run.digest is None:
        return []
    bases = {run.record.base.sha256[:16], *(f.base.digest[:16] for f in run.figures if f.base)}
    kept = run.outputs / "evaluations" / "pictures"
    found = [
        (folder, folder.with_name(base))
        for folder in sorted(kept.glob(f"*/{run.digest[:16]}"))
        for base in sorted(bases)
        if (folder / ROWS).is_file() and (folder.with_name(base) / ROWS).is_file()
    ]
    return sorted(found, key=lambda pair: -(pair[0] / ROWS).stat().st_size)


def _from_folders(folder: Path, base_folder: Path, run: Run, flags: Flags) -> list[Pair]:
    words = _folded(run.record.concept.name)
    of_base = {str(row.get("file")): row for row in read_jsonl(base_folder / ROWS)}
    pairs = []
    for row in read_jsonl(folder / ROWS):
        name = row.get("file")
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(
                f"{folder / ROWS} is damaged: {name!r:.80} is no picture's file name",
                "move the folder away; esdctl evaluate --keep-pictures makes it again",
            )
        same = of_base.get(name, {})
        if any(row.get(key) != same.get(key) for key in ("prompt", "seed")):
            continue  # the base drew something else, or nothing
        if not ((folder / name).is_file() and (base_folder / name).is_file()):
            continue
        prompt, seed = str(row.get("prompt") or ""), row.get("seed")
        asked = " ".join(str(row.get(key) or "") for key in ("prompt", "style", "object"))
        pairs.append(
            Pair(
                Crop(base_folder / name),
                Crop(folder / name),
                prompt or " ".join(asked.split()),
                seed if isinstance(seed, int) else None,
                words in _folded(asked),
                _either(flags.of(base_folder, same), flags.of(folder, row)),
            )
        )
    return pairs


def _either(first: bool | None, second: bool | None) -> bool | None:
    """True where one is; False where both are False; None where that is not known."""
    if first or second:
        return True
    return None if first is None or second is None else False


def _folded(text: str) -> str:
    return text.replace("_", " ").casefold()


def _chosen(pairs: Sequence[Pair], limit: int) -> tuple[Pair, ...]:
    """Half of the target and half of the rest, each spread evenly over what there is."""
    of_target = [pair for pair in pairs if pair.shows_target is not False]
    others = [pair for pair in pairs if pair.shows_target is False]
    half = min(len(of_target), max(limit - len(others), (limit + 1) // 2))
    return (*_spread(of_target, half), *_spread(others, limit - half))


def _spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    if len(pairs) <= count:
        return list(pairs)
    return [pairs[i * len(pairs) // count] for i in range(count)]


def _from_sheet(path: Path) -> list[Pair]:
    """The columns of a run's contact sheet: the base's picture above the erased model's."""
    try:
        with Image.open(path) as sheet:
            size, text = sheet.size, sheet.info.get(COLUMNS_TEXT)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} is no picture ({error})", "move it away; train --resume makes it again"
        ) from error
    above, below = squares_of_sheet(size, rows=2)
    labels = _labels(text, len(above))
    return [
        Pair(Crop(path, before), Crop(path, after), label, seed, shows)
        for before, after, (label, seed, shows) in zip(above, below, labels, strict=True)
    ]


def _labels(text: object, count: int) -> list[tuple[str, int | None, bool | None]]:
    """What the sheet says of its columns; earlier versions wrote nothing."""
    unknown: list[tuple[str, int | None, bool | None]] = [("", None, None)] * count
    if not isinstance(text, str):
        return unknown
    try:
        columns = json.loads(text)
        found = [_label(column) for column in columns]
    except (ValueError, TypeError, KeyError, RecursionError):
        return unknown
    return found if len(found) == count else unknown


def _label(column: Mapping[str, object]) -> tuple[str, int | None, bool | None]:
    seed = column["seed"]
    return str(column["prompt"]), seed if isinstance(seed, int) else None, bool(column["target"])
