"""What a detector of unsafe (or any other) content is: pictures in, labels with scores out.

A classifier says which of its names a picture shows; a detector says which of its labels it sees,
none or several a picture, each with a score and perhaps a place. The kinds are those of
``detectors``; each loads its library when it loads its weights, not before.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from esdctl.counting import counted
from esdctl.errors import InputError, UsageError
from esdctl.names import did_you_mean
from esdctl.progress import Reporter

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]
FOLDER_PREFIX = "image-classifier:"
KINDS = ("nudenet", "opennsfw", "image-classifier:FOLDER", "module:function")


@dataclass(frozen=True)
class Sighting:
    """Something that a detector sees on a picture.

    Args:
        label: one of the detector's.
        score: 0 to 1.
        box: x, y, width and height in pixels, from the upper left corner; None where the detector
            looks at the picture as a whole.
    """

    label: str
    score: float
    box: tuple[float, float, float, float] | None = None


# RGB pictures (B, H, W, 3) to what is seen on each.
Detect = Callable[[Pixels], list[list[Sighting]]]


class Detector(Protocol):
    """A detector that is installed; its weights are read when it is loaded."""

    @property
    def name(self) -> str:
        """What finds it again, such as ``nudenet``."""
        ...

    @property
    def version(self) -> str:
        """Of its library or weights; "" where it tells none."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """What it can see; none where it does not tell before it looks."""
        ...

    @property
    def floor(self) -> float:
        """The least score that it reports."""
        ...

    def digest(self) -> str:
        """sha256 that stands for what it sees."""
        ...

    def load(self, device: "torch.device", reporter: Reporter) -> Detect:
        """Read the weights.

        Raises:
            InputError: a file is damaged, or a library is missing.
        """
        ...


class Seen(NamedTuple):
    """A picture's file, and what a detector saw on it."""

    file: Path
    sightings: list[Sighting]


def find_detector(name: str, models: Path) -> Detector:
    """The detector of a name.

    Args:
        name: ``nudenet``, ``opennsfw``, ``image-classifier:FOLDER`` with a folder as Hugging Face's
            transformers save it (relative to here or to ``models``), or ``module:function`` with
            one of the user's own (see ``detectors.user_function``).
        models: the workspace's folder of models.

    Raises:
        UsageError: there is no such detector.
        InputError: it is not installed, or not what it should be; says how to get it.
    """
    from esdctl.evaluation.judges.detectors import image_classifier, nudenet, opennsfw
    from esdctl.evaluation.judges.detectors.user_function import open_function

    if name.casefold() == nudenet.NAME:
        return nudenet.open_nudenet()
    if name.casefold() == opennsfw.NAME:
        return opennsfw.open_opennsfw()
    if name.startswith(FOLDER_PREFIX):
        return image_classifier.open_classifier(name.removeprefix(FOLDER_PREFIX), models)
    if ":" in name:
        return open_function(name)
    raise UsageError(f"there is no detector {name!r}", did_you_mean(name, KINDS))


def check_wanted(detector: Detector, labels: Sequence[str], threshold: float) -> None:
    """Refuse to count what a detector cannot see.

    Args:
        detector: the detector.
        labels: what is to be counted.
        threshold: the least score that counts.

    Raises:
        UsageError: it knows no such label, or reports no score as low as the threshold.
    """
    if detector.labels:
        for label in labels:
            if label not in detector.labels:
                raise UsageError(
                    f"{detector.name} knows no label {label!r}",
                    did_you_mean(label, detector.labels),
                )
    if not detector.floor <= threshold <= 1:
        raise UsageError(
            f"{detector.name} reports scores from {detector.floor:g} to 1, so a threshold of "
            f"{threshold:g} says nothing",
            f"use one from {detector.floor:g} to 1",
        )


def labels_that_count(detector: Detector, labels: Sequence[str]) -> tuple[str, ...]:
    """Those of a protocol's labels that a detector has; all of its own where it has none of them.

    Args:
        detector: the detector.
        labels: of the protocol, which may name those of several detectors.

    Returns:
        The labels; none, which means all, where the detector does not tell its own.
    """
    return tuple(label for label in labels if label in detector.labels) or tuple(detector.labels)


def label_notes(detectors: Sequence[Detector], labels: Sequence[str]) -> tuple[str, ...]:
    """A line for each detector that has none of a protocol's labels."""
    return tuple(
        f"{each.name} has none of the protocol's labels, so all that it sees counts"
        for each in detectors
        if labels and not set(labels) & set(each.labels)
    )


def detect_folder(
    detector: Detector,
    files: Sequence[Path],
    device: "torch.device",
    reporter: Reporter,
    batch: int = 16,
) -> Iterator[Seen]:
    """Look at stored pictures, a batch at a time.

    Args:
        detector: the detector; it is loaded when the first picture is asked for.
        files: the pictures, of any sizes; neighbours of one size go through it together.
        device: where it runs, if it can choose.
        reporter: told of each batch.
        batch: at most so many pictures at once; changes no answer of the detectors shipped here
            but by rounding.

    Yields:
        Each file in its order, with what was seen on it.

    Raises:
        InputError: a file is no picture, or the detector fails.
    """
    task = f"{detector.name} looks"
    detect = detector.load(device, reporter)
    reporter.started(task, len(files), "pictures")
    done = 0
    for group in _batches(files, batch):
        seen = detect(np.stack([pixels for _, pixels in group]))
        done += len(group)
        reporter.advanced(task, done, counted(sum(map(len, seen)), "sighting"))
        yield from (Seen(file, each) for (file, _), each in zip(group, seen, strict=True))
    reporter.finished(task)


def _batches(files: Sequence[Path], batch: int) -> Iterator[list[tuple[Path, Pixels]]]:
    """Pictures of one size each, in the order of the files."""
    group: list[tuple[Path, Pixels]] = []
    for file in files:
        pixels = read_picture(file)
        if group and (len(group) == batch or group[0][1].shape != pixels.shape):
            yield group
            group = []
        group.append((file, pixels))
    if group:
        yield group


def read_picture(file: Path) -> Pixels:
    """A picture as RGB (H, W, 3).

    Raises:
        InputError: it is missing, or no picture.
    """
    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the picture {file}: {error}") from error
