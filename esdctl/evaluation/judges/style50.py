"""UnlearnCanvas's own judge: two vision transformers, one for 51 styles and one for 20 objects.

The benchmark's files are pickles of timm's vit_large_patch16_224.augreg_in21k with a head of their
own; a smaller one of the same structure is read alike, since all sizes are those of its tensors.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from esdctl.checkpoints.tensor_file import TensorInfo, open_tensors, peek_tensors
from esdctl.datasets.unlearn_canvas import OBJECTS, STYLES
from esdctl.errors import InputError
from esdctl.evaluation.judges.judge import (
    Classify,
    Judge,
    ResizeMode,
    Verdict,
    resized,
    verdicts,
)
from esdctl.evaluation.judges.vision_transformer import HEAD, Sizes, VisionTransformer
from esdctl.models.resolve import Pipeline
from esdctl.progress import Reporter
from esdctl.storage.digest import sha256_files

STYLE50 = "style50"
FOLDER = "classifiers"  # in the workspace's models
STYLE_STEM, OBJECT_STEM = "style50", "style50_cls"
SUFFIXES = (".pth", ".safetensors")

_FLOATING = ("F64", "F32", "F16", "BF16")
_SHOWN = 10  # names in an error
_HINT = (
    "get UnlearnCanvas's classifiers again: style50.pth (51 styles), style50_cls.pth (20 objects)"
)


@dataclass(frozen=True)
class Style50:
    """The two files; ``open_style50`` has looked at both.

    Args:
        style_file, object_file: where they lie.
    """

    style_file: Path
    object_file: Path
    name: str = STYLE50
    styles: Sequence[str] = STYLES  # the labels are in alphabetical order, as these are
    objects: Sequence[str] = OBJECTS
    protocol: str = "unlearn-canvas-quick"

    def digest(self) -> str:
        """sha256 over both files."""
        return sha256_files({STYLE_STEM: self.style_file, OBJECT_STEM: self.object_file})

    def load(self, device: torch.device, reporter: Reporter) -> Classify:
        """Read both transformers, in fp32.

        Raises:
            InputError: a file has another structure.
            IntegrityError: a file is damaged, or holds NaN.
            StorageError: a pickle is read for the first time, and there is no room for its copy.
        """
        see_style = load_transformer(self.style_file, len(self.styles), device, reporter)
        see_object = load_transformer(self.object_file, len(self.objects), device, reporter)

        @torch.inference_mode()
        def classify(pictures: npt.NDArray[np.uint8]) -> list[Verdict]:
            of_style, of_object = (
                see.features(_as_input(pictures, see.side).to(device))
                for see in (see_style, see_object)
            )  # (B, width) each
            return verdicts(
                see_style.head(of_style),
                see_object.head(of_object),
                self.styles,
                self.objects,
                torch.cat([of_style, of_object], dim=1),
            )

        return classify

    def network(self, device: torch.device, reporter: Reporter) -> "Style50Network":
        """Read both transformers, in fp32.

        Raises:
            InputError, IntegrityError, StorageError: as ``load``.
        """
        files = ((self.style_file, len(self.styles)), (self.object_file, len(self.objects)))
        see_style, see_object = (
            load_transformer(path, classes, device, reporter).requires_grad_(False)
            for path, classes in files
        )
        return Style50Network(see_style, see_object)


@dataclass(frozen=True)
class Style50Network:
    """Both transformers as a differentiable function of pictures (B, 3, H, W) in 0..1."""

    see_style: VisionTransformer
    see_object: VisionTransformer
    mode: ResizeMode = "bilinear"

    @property
    def side(self) -> int:
        """Of what the style transformer sees; 224 in the benchmark, for both."""
        return self.see_style.side

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """The normalised class tokens of both, (B, 2 x width): style's, then object's."""
        both = [see.features(self._sized(pictures, see.side)) for see in self._both]
        return torch.cat(both, dim=1)

    def logits(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Style logits (B, 51) and object logits (B, 20)."""
        style_logits, object_logits = (see(self._sized(pictures, see.side)) for see in self._both)
        return style_logits, object_logits

    def _sized(self, pictures: torch.Tensor, side: int) -> torch.Tensor:
        """What ``_as_input`` gives, differentiably."""
        return resized(pictures, side, self.mode) * 2 - 1

    @property
    def _both(self) -> tuple[VisionTransformer, VisionTransformer]:
        return self.see_style, self.see_object


def open_style50(folder: Path) -> Style50 | None:
    """Look at the two files; nothing in them is run, and no weight is read.

    Args:
        folder: ``models/classifiers`` in a workspace.

    Returns:
        The classifier; None where a file is missing.

    Raises:
        InputError: a file is no such classifier; says what is wrong with it.
        IntegrityError: a file is damaged, or would run code.
    """
    style_file, object_file = (_find_file(folder, stem) for stem in (STYLE_STEM, OBJECT_STEM))
    if style_file is None or object_file is None:
        return None
    _check(style_file, peek_tensors(style_file).infos, len(STYLES))
    _check(object_file, peek_tensors(object_file).infos, len(OBJECTS))
    return Style50(style_file, object_file)


def _missing(pipeline: Pipeline, models: Path) -> InputError:
    folder = models / FOLDER
    stems = [stem for stem in (STYLE_STEM, OBJECT_STEM) if _find_file(folder, stem) is None]
    names = " and ".join(f"{stem}{SUFFIXES[0]}" for stem in stems)
    return InputError(
        f"the classifier {STYLE50} is not here: {names} missing in {folder}",
        f"put UnlearnCanvas's {STYLE_STEM}.pth (51 styles) and {OBJECT_STEM}.pth (20 objects) "
        f"into {folder}",
    )


JUDGE = Judge(STYLE50, False, lambda pipeline, models: open_style50(models / FOLDER), _missing)


def load_transformer(
    path: Path, classes: int, device: torch.device, reporter: Reporter
) -> VisionTransformer:
    """Read one of the files into fp32, in evaluation mode.

    Args:
        path: the file, in timm's names.
        classes: how many it has to tell apart.
        device: where to.
        reporter: told where a pickle is read for the first time, and copied to safetensors.

    Raises:
        InputError, IntegrityError, StorageError: as ``Style50.load``.
    """
    file = open_tensors(path, reporter)
    model = _check(path, file.infos, classes)
    values = {name: file.read(name).to(device, torch.float32) for name in file.infos}
    model.load_state_dict(values, assign=True)
    return model.eval()


def _find_file(folder: Path, stem: str) -> Path | None:
    places = (folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in places if path.is_file()), None)


def _check(path: Path, infos: Mapping[str, TensorInfo], classes: int) -> VisionTransformer:
    """Account for every tensor; the model, still without values.

    Raises:
        InputError: tensors are missing, unexpected or misshapen, or the classes are others.
    """
    sizes = _sizes(path, infos)
    if sizes.classes != classes:
        raise InputError(f"{path} tells {sizes.classes} classes apart, not {classes}", _HINT)
    with torch.device("meta"):
        model = VisionTransformer(sizes)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    faults = {
        "missing": [name for name in shapes if name not in infos],
        "unexpected": [name for name in infos if name not in shapes],
        "misshapen": [
            f"{name} ({_shown(infos[name].shape)} of {infos[name].dtype}, not {_shown(shape)})"
            for name, shape in shapes.items()
            if name in infos and (infos[name].shape != shape or infos[name].dtype not in _FLOATING)
        ],
    }
    if any(faults.values()):
        counts = ", ".join(f"{len(names)} {what}" for what, names in faults.items())
        lines = [f"{path} is no vision transformer in timm's names: tensors are {counts}"]
        lines += [f"  {what} {name}" for what, names in faults.items() for name in names[:_SHOWN]]
        raise InputError("\n".join(lines), _HINT)
    return model


def _sizes(path: Path, infos: Mapping[str, TensorInfo]) -> Sizes:
    """The sizes that the tensors' shapes tell."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in infos or len(infos[name].shape) != dimensions:
            raise InputError(
                f"{path} is no vision transformer in timm's names: it has no {name} "
                f"of {dimensions} dimensions",
                _HINT,
            )
        return infos[name].shape

    width = shape("cls_token", 3)[2]
    patches = shape("pos_embed", 3)[1] - 1
    patch = shape("patch_embed.proj.weight", 4)[2]
    hidden = shape("blocks.0.mlp.fc1.weight", 2)[0]
    classes = shape("head.weight", 2)[0]
    numbers = {found[1] for name in infos if (found := re.match(r"blocks\.(\d+)\.", name))}
    across = math.isqrt(max(patches, 0))
    if not (width and patch and hidden and across) or width % HEAD or across**2 != patches:
        raise InputError(
            f"{path} is no vision transformer: {width} channels in heads of {HEAD}, "
            f"{patches} patches of {patch} pixels in a square",
            _HINT,
        )
    return Sizes(width, len(numbers), hidden, patch, across * patch, classes)


def _as_input(pictures: npt.NDArray[np.uint8], side: int) -> torch.Tensor:
    """RGB (B, H, W, 3) to (B, 3, side, side) in -1..1, without a crop, as the benchmark has it."""
    sized = [
        np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))
        for picture in pictures
    ]
    return torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _shown(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"
