"""Which judges and encoders are usable here, and how to get the others; loads none of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from esdctl.errors import EsdctlError, InputError
from esdctl.evaluation.encoders.clip import open_clip_folder
from esdctl.evaluation.encoders.inception import INSTALL, open_inception
from esdctl.evaluation.encoders.lpips import open_lpips
from esdctl.evaluation.judges.detectors.nudenet import open_nudenet
from esdctl.evaluation.judges.detectors.opennsfw import open_opennsfw
from esdctl.evaluation.judges.pocket import OWN, open_pocket
from esdctl.evaluation.judges.style50 import FOLDER, STYLE50, open_style50
from esdctl.evaluation.metrics import fidelity
from esdctl.models.named import POCKET

CLIPS = ("clip-vit-l-14", "clip-vit-b-32")  # as the catalogue has them


class _Digested(Protocol):
    def digest(self) -> str: ...


@dataclass(frozen=True)
class Usable:
    """A judge or a measure.

    Args:
        name: what it is called.
        found: its version, ``here``, or what is missing.
        advice: how to get it; "" where it is usable.
    """

    name: str
    found: str
    advice: str = ""


def usable_judges(models: Path) -> Iterator[Usable]:
    """Every judge and measure that esdctl knows, usable or not; takes well under a second.

    Args:
        models: the workspace's folder of models.
    """
    yield _tried("pocket", lambda: open_pocket(POCKET / OWN))
    yield _tried(STYLE50, lambda: _style50(models))
    yield _tried("nudenet", open_nudenet)
    yield _tried("opennsfw", open_opennsfw)
    yield Usable("image-classifier:FOLDER", "any folder of transformers'")
    yield Usable("module:function", "your own")
    if find_spec("torchmetrics") is None:
        yield Usable("FID and KID", "torchmetrics is not installed", fidelity.INSTALL)
    else:
        yield Usable("FID and KID", "by a judge's features, CLIP or Inception")
    yield _tried("FID and KID by Inception", lambda: _inception(models))
    for name in CLIPS:
        yield _tried(f"CLIP score by {name}", partial(_clip, models, name))
    yield _tried("LPIPS", lambda: open_lpips(models))


def _tried(name: str, find: Callable[[], _Digested]) -> Usable:
    try:
        found = find()
    except EsdctlError as error:
        return Usable(name, error.message, error.hint)
    return Usable(name, str(getattr(found, "version", "")) or "here")


def _style50(models: Path) -> _Digested:
    found = open_style50(models / FOLDER)
    if found is None:
        raise InputError(
            "not here",
            f"put UnlearnCanvas's style50.pth and style50_cls.pth into {models / FOLDER}",
        )
    return found


def _clip(models: Path, name: str) -> _Digested:
    folder = models / "fidelity" / name
    if not folder.is_dir():
        raise InputError("not downloaded", f"esdctl download {name}")
    return open_clip_folder(str(folder), models)


def _inception(models: Path) -> _Digested:
    if find_spec("torch_fidelity") is None or find_spec("torchvision") is None:
        raise InputError("torch-fidelity is not installed", INSTALL)
    return open_inception(models)
