"""The before/after contact sheet of a run: the base model above, the erased one below."""

import json
from collections.abc import Mapping

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from esdctl.datasets.unlearn_canvas import evaluation_prompt
from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.concepts import Catalogue, Concept
from esdctl.erasing.esd.student import Student
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.progress import Reporter
from esdctl.sampling.contact_sheet import COLUMNS_TEXT, contact_sheet
from esdctl.sampling.defaults import DEFAULT_STEPS
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import sample_in_memory

SEED = 188  # the benchmark's first
COLUMNS = 9
AT_ONCE = 2 * 512 * 512  # pixels; sampling must fit where training did
LARGE = 256  # pixels a side; a CPU takes minutes for each such picture
FEW_STEPS = 8  # of DDIM, where each takes seconds


def before_after(
    model: StableDiffusion,
    student: Student,
    concept: Concept,
    catalogue: Catalogue,
    guidance: float,
    side: int,
    reporter: Reporter,
    known: Mapping[str, Conditioning] | None = None,
) -> Image.Image:
    """Sample both models on the same prompts and seeds.

    Args:
        model: holds the student's values.
        student: gives the frozen values of the same U-Net.
        concept: what was erased; its prompts come first.
        catalogue: where the other styles and objects come from.
        guidance: scale of the sampler.
        side: of a picture in pixels, as in the training.
        reporter: told of the progress.
        known: prompt -> its row, on any device; a text encoder reads what is not there.

    Returns:
        The sheet; its ``info`` says of each column the prompt, the seed, and whether the prompt
        asks for the concept.
    """
    prompts, pictures = sheet_pictures(model, concept, catalogue, guidance, side)
    if pictures[0].steps < DEFAULT_STEPS:
        reporter.notice("the contact sheet has two columns: this model samples slowly on a CPU")
    at_once = sheet_batch_size(side)
    rows_of = {prompt: row.to(model.device) for prompt, row in (known or {}).items()}
    erased = sample_in_memory(model, pictures, reporter, at_once, rows_of)
    student.restore()
    base = sample_in_memory(model, pictures, reporter, at_once, rows_of)
    rows = [[Image.fromarray(pixels) for pixels in row] for row in (base, erased)]
    sheet = contact_sheet(rows, ["before", "after"], [label for label, _ in prompts])
    sheet.info[COLUMNS_TEXT] = json.dumps(
        [
            {
                "prompt": picture.prompt,
                "seed": picture.seed,
                "target": concept.name.replace("_", " ") in label or label in concept.prompts,
            }
            for (label, _), picture in zip(prompts, pictures, strict=True)
        ]
    )
    return sheet


def drawn_prompts(concept: Concept, catalogue: Catalogue) -> list[str]:
    """Every prompt that a sheet asks for, the empty one among them."""
    return list(dict.fromkeys(["", *(prompt for _, prompt in sheet_prompts(concept, catalogue))]))


def sheet_text(sheet: Image.Image) -> PngInfo:
    """What a sheet says of its columns, as text of its PNG."""
    text = PngInfo()
    text.add_itxt(COLUMNS_TEXT, str(sheet.info[COLUMNS_TEXT]))
    return text


def sheet_pictures(
    model: StableDiffusion, concept: Concept, catalogue: Catalogue, guidance: float, side: int
) -> tuple[list[tuple[str, str]], list[Picture]]:
    """Labels and prompts of the sheet's columns, and the pictures that either model makes."""
    prompts, steps = sheet_prompts(concept, catalogue), DEFAULT_STEPS
    if model.device.type == "cpu" and side > LARGE:
        prompts, steps = [prompts[0], prompts[-1]], FEW_STEPS
    return prompts, [
        Picture(f"{i}.png", prompt, SEED + i, guidance, steps, side, side)
        for i, (_, prompt) in enumerate(prompts)
    ]


def sheet_batch_size(side: int) -> int:
    """So few pictures of so many pixels a side at once that they fit where training did."""
    return max(1, min(COLUMNS, AT_ONCE // side**2))


def sheet_prompts(concept: Concept, catalogue: Catalogue) -> list[tuple[str, str]]:
    """Labels and prompts: three of the concept, then others that should stay."""
    styles = [name for name in catalogue.styles if name != concept.name]
    objects = [name for name in catalogue.objects if name != concept.name]
    plain = "Seed_Images" if "Seed_Images" in styles else styles[0]
    kept_styles = [plain, *(name for name in styles if name != plain)]
    if concept.name in catalogue.styles:
        pairs = [(concept.name, name) for name in objects[4:7]]
    elif concept.name in catalogue.objects:
        pairs = [(style, concept.name) for style in kept_styles[:3]]
    else:
        named = [(prompt, prompt) for prompt in concept.prompts[:3]]
        return [*named, *((name, f"An image of {name}.") for name in objects[:3])]
    count = COLUMNS - len(pairs)
    kept = [
        (kept_styles[(2 * i) % len(kept_styles)], objects[(3 * i) % len(objects)])
        for i in range(count)
    ]
    return [
        (f"{style}, {name}".replace("_", " "), evaluation_prompt(style, name))
        for style, name in [*pairs, *kept]
    ]
