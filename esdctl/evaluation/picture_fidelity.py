"""How far an erased model's pictures are from the base's: every figure whose weights are here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from esdctl.errors import InputError
from esdctl.evaluation.cases import Case
from esdctl.evaluation.encoders.clip import ClipFolder, open_clip_folder
from esdctl.evaluation.encoders.encoder import Encoder, encode_files
from esdctl.evaluation.encoders.inception import open_inception
from esdctl.evaluation.encoders.judge import JudgeEncoder
from esdctl.evaluation.encoders.lpips import open_lpips
from esdctl.evaluation.judges.judge import Classifier
from esdctl.evaluation.metrics.fidelity import (
    FidelityFigure,
    clip_score,
    frechet_distance,
    kernel_distance,
    lpips_figure,
    lpips_input,
)
from esdctl.evaluation.sources import read_picture
from esdctl.progress import Reporter

CLIP_FOLDERS = ("fidelity/clip-vit-l-14", "fidelity/clip-vit-b-32")  # in the workspace's models
PAIRS_AT_ONCE = 16


def measure_fidelity(
    classifier: Classifier,
    models: Path,
    cases: Sequence[Case],
    folders: tuple[Path, Path],
    device: torch.device,
    reporter: Reporter,
) -> tuple[FidelityFigure, ...]:
    """FID and KID by the judge's features; by Inception and CLIP, CLIP score and LPIPS if here.

    Args:
        classifier: the judge.
        models: the workspace's folder of models, where weights are looked for.
        cases: whose pictures are compared, paired by their noise.
        folders: the erased model's pictures, and the base's under the same names.
        device: where to compute.
        reporter: told of each encoder's progress, and of what is not here.

    Raises:
        InputError: too few pictures, or a picture or encoder is damaged.
    """
    pictures, base = ([folder / case.picture.file for case in cases] for folder in folders)
    encoders: list[Encoder] = [JudgeEncoder(classifier)]
    absent = []
    try:
        encoders.append(open_inception(models))
    except InputError as error:
        absent.append(error.hint)
    clips = [models / folder for folder in CLIP_FOLDERS if (models / folder).is_dir()]
    encoders += [open_clip_folder(str(folder), models) for folder in clips]
    if not clips:
        absent.append("esdctl download clip-vit-l-14")
    figures = []
    for encoder in encoders:
        features, reference = (
            encode_files(encoder, files, device, reporter) for files in (pictures, base)
        )
        figures.append(frechet_distance(features, reference, encoder))
        figures.append(kernel_distance(features, reference, encoder))
        if isinstance(encoder, ClipFolder):
            texts = encoder.load_both(device, reporter)[1]([case.picture.prompt for case in cases])
            figures.append(clip_score(features, texts, encoder))
    try:
        figures.append(_lpips(models, pictures, base, device, reporter))
    except InputError as error:
        absent.append(error.hint)
    if absent:
        reporter.notice(f"more figures come with: {'; '.join(absent)}")
    return tuple(figures)


def _lpips(
    models: Path,
    pictures: Sequence[Path],
    base: Sequence[Path],
    device: torch.device,
    reporter: Reporter,
) -> FidelityFigure:
    lpips = open_lpips(models)
    distance = lpips.load(device, reporter)
    found = []
    for start in range(0, len(pictures), PAIRS_AT_ONCE):
        left, right = (
            lpips_input([read_picture(path) for path in files[start : start + PAIRS_AT_ONCE]])
            for files in (pictures, base)
        )
        found.append(distance(left, right).numpy())
    return lpips_figure(torch.from_numpy(np.concatenate(found)), lpips.name)
