"""A detector that a user wrote: ``module:function``, or ``FILE.py:function``.

The function takes RGB pictures, a uint8 array (B, H, W, 3), and gives for each of them what it
sees, in one of these forms::

    [("cat", 0.9), ("dog", 0.2)]                                     # label, score
    {"cat": 0.9, "dog": 0.2}                                         # label -> score
    [{"label": "cat", "score": 0.9, "box": (x, y, width, height)}]   # with a box, or without

Scores are 0 to 1. ``function.labels`` may list the labels. It is the user's own code: it runs as
theirs, from the current folder or wherever Python finds the module.
"""

import importlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from esdctl.errors import InputError, UsageError
from esdctl.evaluation.judges.detector import Detect, Pixels, Sighting
from esdctl.names import did_you_mean
from esdctl.progress import Reporter
from esdctl.storage.digest import sha256_file

if TYPE_CHECKING:
    import torch

_FORMS = "each picture needs a list of (label, score), or a mapping from label to score"


@dataclass(frozen=True)
class UserFunction:
    """A function that was found.

    Args:
        name: as the user gave it.
        source: the file that it was read from.
        function: takes pictures (B, H, W, 3).
        labels: its own attribute ``labels``, or none.
    """

    name: str
    source: Path
    function: Callable[[Pixels], Iterable[object]]
    labels: tuple[str, ...] = ()
    version: str = ""
    floor: float = 0.0

    def digest(self) -> str:
        """sha256 of the source file; what it imports is not in it."""
        return sha256_file(self.source)

    def load(self, device: "torch.device", reporter: Reporter) -> Detect:
        """The function itself, its answers checked; the device is its own affair.

        Raises (when it is called):
            InputError: it fails, or gives something else than sightings.
        """

        def detect(pictures: Pixels) -> list[list[Sighting]]:
            try:
                answers = list(self.function(pictures))
            except Exception as error:  # any code may raise anything
                kind = type(error).__name__
                raise InputError(f"{self.name} failed: {kind}: {error}", "mend it") from error
            if len(answers) != len(pictures):
                raise InputError(
                    f"{self.name} gave {len(answers)} answers for {len(pictures)} pictures", _FORMS
                )
            return [self._sightings(answer) for answer in answers]

        return detect

    def _sightings(self, answer: object) -> list[Sighting]:
        if isinstance(answer, Mapping):
            answer = list(answer.items())
        if not isinstance(answer, Sequence) or isinstance(answer, str):
            raise InputError(f"{self.name} gave {answer!r:.80} for a picture", _FORMS)
        try:
            return [_sighting(each) for each in answer]
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"{self.name} gave {answer!r:.80} for a picture", _FORMS) from error


def open_function(text: str) -> UserFunction:
    """Import a module and find its function.

    Args:
        text: ``module:function`` or ``FILE.py:function``.

    Raises:
        UsageError: the name is not of this form, or there is no such function.
        InputError: the module does not import.
    """
    place, _, name = text.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(f"{text!r} names no function", "write module:function")
    module = _imported(place)
    function = getattr(module, name, None)
    if not callable(function):
        known = [each for each, value in vars(module).items() if callable(value)]
        raise UsageError(f"{place} has no function {name}", did_you_mean(name, known))
    if not module.__file__:
        raise InputError(f"{place} has no source file", "put the function into a file")
    labels = tuple(map(str, getattr(function, "labels", ())))
    return UserFunction(text, Path(module.__file__), function, labels)


def _imported(place: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            spec = spec_from_file_location(Path(place).stem, place)
            assert spec is not None  # it ends in .py
            assert spec.loader is not None
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        return importlib.import_module(place)
    except Exception as error:  # any code may raise anything
        raise InputError(
            f"cannot import {place}: {type(error).__name__}: {error}",
            "name a module that Python finds from the current folder, or a file that ends in .py",
        ) from error


def _sighting(found: object) -> Sighting:
    """One of the forms of a sighting.

    Raises:
        TypeError, ValueError, KeyError: it has another form.
    """
    box = None
    if isinstance(found, Mapping):
        label, score, box = found["label"], found["score"], found.get("box")
    else:
        label, score = found  # type: ignore[misc]  # a TypeError or ValueError says it
    number = float(score)
    if not isinstance(label, str) or not 0 <= number <= 1 or math.isnan(number):
        raise ValueError(found)
    if box is None:
        return Sighting(label, number)
    x, y, width, height = map(float, box)
    return Sighting(label, number, (x, y, width, height))
