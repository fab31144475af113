"""A protocol of evaluation as data: one YAML file says what is asked for, who judges, what counts.

A new protocol is one file in this folder. A user's own is a file of the same keys. Its digest
stands for all that it says, so a figure's protocol is known by name, version and digest.
"""

import hashlib
import json
import re
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from esdctl.datasets.i2p import CATEGORIES
from esdctl.datasets.unlearn_canvas import EVALUATION_PROMPT
from esdctl.errors import InputError, UsageError
from esdctl.names import did_you_mean
from esdctl.sampling.schedulers import DDIM, Scheduler
from esdctl.settings.yaml_file import read_yaml
from esdctl.storage.user_path import user_path

OWN_JUDGE = "own"  # the classifier that comes with the model, else UnlearnCanvas's
_FIELDS = re.compile(r"\{(\w*)\}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GridPictures(_Part):
    """Styles x objects x wordings x seeds.

    Args:
        wordings: prompts with ``{style}`` and ``{object}`` in them.
        styles, objects: restrict the grid; None takes all that the judge knows.
        seeds: each prompt is sampled once with each of them.
    """

    wordings: Annotated[tuple[str, ...], Field(min_length=1)] = (EVALUATION_PROMPT,)
    styles: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (188,)

    @field_validator("wordings")
    @classmethod
    def _names_what_is_asked(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for wording in value:
            if sorted(set(_FIELDS.findall(wording))) != ["object", "style"]:
                raise ValueError(f"{wording!r} must hold {{style}} and {{object}}, nothing else")
        return value


class RowPictures(_Part):
    """The rows of a table of prompts.

    Args:
        table: the data set that holds it; None where the user must name a file.
        categories: rows of these categories alone; none for all.
        first: so many rows at most; None for all.
        seeds: each row is sampled with each of them; None for the row's own.
    """

    table: Literal["i2p"] | None = None
    categories: tuple[str, ...] = ()
    first: Annotated[int, Field(ge=1)] | None = None
    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = None

    @field_validator("categories")
    @classmethod
    def _are_of_i2p(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in CATEGORIES:
                raise ValueError(f"no category {name!r}; use {', '.join(CATEGORIES)}")
        return value


class Sampling(_Part):
    """How each picture is made.

    Args:
        scheduler: what solves the equation from noise to picture.
        steps: of the scheduler.
        guidance: the guidance scale; None for the row's own, else the model's usual one.
        image_size: side in pixels; None for the row's own, else the model's.
        largest: side in pixels that a model's own size is cut to.
        stored: the form in which pictures are stored before they are judged; None for none.
    """

    scheduler: Scheduler = DDIM
    steps: Annotated[int, Field(ge=1, le=1000)]
    guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    image_size: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    largest: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    stored: Literal["jpeg"] | None = None


class Counting(_Part):
    """What is counted on the pictures.

    Args:
        figures: ``accuracy`` for UA, IRA and CRA by a classifier; ``detections`` for pictures and
            detections by a detector; ``fidelity`` for distances of the erased model's pictures from
            the base's.
        labels: the detector's classes that count; none for all.
        threshold: a detection counts from this score on.
    """

    figures: Literal["accuracy", "detections", "fidelity"]
    labels: tuple[str, ...] = ()
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0


class Protocol(_Part):
    """Everything that decides a figure, but the model.

    Args:
        name, version: what a figure is called after.
        about: one line for a list.
        source: the paper or program that it follows.
        grid, rows: what is asked for, one of the two.
        sampling: how pictures are made.
        judges: by name, side by side; ``own`` is the classifier that comes with the model.
        judge_digests: sha256 by judge, where the protocol is bound to a file.
        counts: what is counted.
        departs: where it differs from its source.
        probe_steps: of DDIM, for the few pictures that are judged during a training.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[int, Field(ge=1)]
    about: str
    source: str
    grid: GridPictures | None = None
    rows: RowPictures | None = None
    sampling: Sampling
    judges: Annotated[tuple[str, ...], Field(min_length=1)] = (OWN_JUDGE,)
    judge_digests: dict[str, str] = {}
    counts: Counting
    departs: str = ""
    probe_steps: Annotated[int, Field(ge=1, le=1000)] | None = None

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> "Protocol":
        if (self.grid is None) == (self.rows is None):
            raise ValueError("give either grid or rows")
        if self.counts.figures == "accuracy" and self.grid is None:
            raise ValueError("accuracy is counted on a grid of styles and objects")
        return self

    @cached_property
    def digest(self) -> str:
        """16 digits of the sha256 of all that it says."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def protocol_names() -> list[str]:
    """The protocols that the package brings, in alphabetical order."""
    return sorted(
        each.name.removesuffix(".yaml")
        for each in files(__package__).iterdir()
        if each.name.endswith(".yaml")
    )


def find_protocol(name: str) -> Protocol:
    """A protocol of the package by its name, or a user's by its file.

    Raises:
        UsageError: there is no such protocol; says which are near.
        InputError: the file is missing, or says something else.
    """
    if name.lower() in protocol_names():
        return read_protocol(Path(str(files(__package__).joinpath(f"{name.lower()}.yaml"))))
    if name.lower().endswith((".yaml", ".yml")) or "/" in name:
        return read_protocol(user_path(Path(name)))
    known = ", ".join(protocol_names())
    raise UsageError(
        f"no protocol is called {name!r}",
        did_you_mean(name, protocol_names(), otherwise=f"use one of {known}, or a .yaml file"),
    )


def read_protocol(path: Path) -> Protocol:
    """Read a protocol's file.

    Raises:
        InputError: it is missing, no YAML, or a key is unknown, missing or out of range.
    """
    try:
        return Protocol.model_validate(read_yaml(path))
    except ValidationError as error:
        faults = error.errors()
        first = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
        where = ".".join(map(str, first["loc"])) or "the protocol"
        raise InputError(
            f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}",
            "esdctl guide evaluation shows a whole file",
        ) from error
