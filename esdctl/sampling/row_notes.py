"""What the rows of a prompts file say and a sample does not use, told to the user."""

from collections.abc import Sequence

from esdctl.datasets.prompt_row import PromptRow

LABELS = frozenset({"", "style", "object", "number", "categories"})  # of `esdctl dataset prompts`


def unused_in_rows(
    rows: Sequence[PromptRow],
    seeds: Sequence[int] | None,
    guidance: float | None,
    image_size: int | None,
    side: int,
) -> tuple[str, ...]:
    """A sentence for each kind of thing in the rows that does not count.

    Args:
        rows: the prompts.
        seeds, guidance, image_size: what was asked for all pictures, which beats the rows.
        side: of the pictures that the model was trained for, in pixels.
    """
    others = {
        "--seeds": [row for row in rows if seeds and row.seed not in (None, *seeds)],
        "--guidance": [
            row for row in rows if guidance is not None and row.guidance not in (None, guidance)
        ],
        "--image-size": [
            row for row in rows if image_size and {row.width, row.height} - {None, image_size}
        ],
    }
    notes = [
        f"{flag} counts for all pictures: {_counted(len(theirs))} not used"
        for flag, theirs in others.items()
        if theirs
    ]
    sizes = [s for row in rows for s in (row.width, row.height) if s and not is_suitable(s, side)]
    if sizes and not image_size:
        notes.append(
            f"rows that ask for pictures of {max(sizes)} pixels get {side}, which the model was "
            "trained on; --image-size has the last word"
        )
    empty = [number for number, row in enumerate(rows, start=1) if not row.prompt]
    if empty:
        what = "row has" if len(empty) == 1 else "rows have"
        notes.append(
            f"{len(empty)} {what} no prompt (the first is row {empty[0]}): sampled with the empty "
            "prompt; --refuse-empty refuses them"
        )
    columns = list(dict.fromkeys(name for row in rows for name in row.extra if name not in LABELS))
    if columns:
        notes.append(f"columns that are not used: {', '.join(columns)}")
    return tuple(notes)


def is_suitable(pixels: int, side: int) -> bool:
    """Whether a row's size suits a model: it was chosen for the one that the row was written for.

    Args:
        pixels: a side of the row's picture.
        side: of the pictures that the model was trained for.
    """
    return side <= 2 * pixels and pixels <= 2 * side


def _counted(rows: int) -> str:
    return "another value in a row is" if rows == 1 else f"other values in {rows} rows are"
