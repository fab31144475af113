"""Real quirks of .ckpt and .pth: every form, type and wrapping that torch and trainers write."""

import argparse
import enum
import functools
import inspect
import logging
import random
import re
import signal
import typing
import urllib.parse
from collections import OrderedDict
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from esdctl.checkpoints.tensor_file import TensorFile, open_tensors, peek_tensors
from esdctl.errors import InputError, IntegrityError
from esdctl.progress import Silent

GRID = torch.arange(12.0).reshape(3, 4) / 7


class Callback:
    """Lightning pickles callbacks of classes that no reader has."""

    def __init__(self) -> None:
        self.best = {"path": PosixPath("a.ckpt"), "score": np.float64(0.5)}
        self.itself = self


class Stage(enum.Enum):
    FIT = "fit"


def saved(folder: Path, content: object, **options: Any) -> Path:
    path = folder / "model.ckpt"
    torch.save(content, path, **options)
    return path


def check_equal(file: TensorFile, expected: dict[str, torch.Tensor]) -> None:
    """Bit-equal, in the stored type, and what is said before reading is true."""
    assert set(file.infos) == set(expected)
    for name, tensor in expected.items():
        found = file.read(name)
        assert found.dtype == tensor.dtype
        assert found.shape == tensor.shape == file.infos[name].shape
        assert found.nbytes == file.infos[name].bytes
        assert torch.equal(
            found.contiguous().view(-1).view(torch.uint8),
            tensor.detach().contiguous().view(-1).view(torch.uint8),
        )


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_form_and_protocol_that_torch_writes(
    is_zip: bool, protocol: int, tmp_path: Path
) -> None:
    weights = {"a": GRID, "b": GRID.half()}
    path = saved(
        tmp_path,
        {"state_dict": weights, "global_step": 875_000},
        _use_new_zipfile_serialization=is_zip,
        pickle_protocol=protocol,
    )
    opened = open_tensors(path)
    check_equal(opened, weights)
    assert opened.metadata["global_step"] == "875000"
    assert opened.metadata["form"].startswith("pickle")


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.int32,
        torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16,
        torch.float8_e4m3fn, torch.float8_e5m2,
    ],
    ids=str,
)  # fmt: skip
def test_every_type_of_element(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {"odd": torch.arange(7).to(dtype), "single": torch.tensor(1).to(dtype)}
    check_equal(open_tensors(saved(tmp_path, weights)), weights)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", ""])
def test_weights_under_a_key_or_bare(key: str, tmp_path: Path) -> None:
    weights = OrderedDict(a=GRID)
    opened = open_tensors(saved(tmp_path, {key: weights} if key else weights))
    check_equal(opened, weights)
    assert "dropped" not in opened.metadata


def test_extras_of_lightning_are_dropped_and_reported(tmp_path: Path) -> None:
    optimizer = {"state": {0: {"exp_avg": GRID, "step": 7}}, "param_groups": [{"lr": 1e-5}]}
    content = {
        "epoch": 3,
        "global_step": 42,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": {"a": GRID},
        "callbacks": {Callback: Callback(), Stage.FIT: {1, 2}, "best": frozenset({"x"})},
        "optimizer_states": [optimizer],
        "hyper_parameters": argparse.Namespace(lr=1e-5, folder=PosixPath("data")),
        "rng": np.random.RandomState(0).get_state(),
        "score": np.float32(0.25),
        "count": np.int64(7),
        "device": torch.device("cpu"),
        "type": torch.float16,
    }
    opened = open_tensors(saved(tmp_path, content))
    check_equal(opened, {"a": GRID})
    assert opened.metadata["epoch"] == "3"
    assert opened.metadata["global_step"] == "42"
    for name in ("callbacks", "optimizer_states", "hyper_parameters", "rng", "score"):
        assert name in opened.metadata["dropped"]


def test_values_beside_the_weights_in_the_state_dict_are_reported(tmp_path: Path) -> None:
    opened = open_tensors(saved(tmp_path, {"state_dict": {"a": GRID, "logvar": 0.5}}))
    assert opened.metadata["dropped"] == "state_dict.logvar"


def test_a_text_of_esdctl_is_kept(tmp_path: Path) -> None:
    about = '{"format": "esdctl"}'
    opened = open_tensors(saved(tmp_path, {"state_dict": {"a": GRID}, "esdctl": about}))
    assert opened.metadata["esdctl"] == about


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_shared_storages_views_and_parameters(is_zip: bool, tmp_path: Path) -> None:
    images = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    weights = {
        "whole": GRID,
        "tied": GRID,
        "rows": GRID[1:],
        "turned": GRID.t(),
        "every_other": GRID[:, ::2],
        "parameter": torch.nn.Parameter(GRID.clone()),
        "images": images,
        "position_ids": torch.arange(77).expand((1, -1)),
        "nothing": torch.empty(0, 4),
        "single": torch.tensor(0.5),
    }
    path = saved(tmp_path, weights, _use_new_zipfile_serialization=is_zip)
    check_equal(open_tensors(path), weights)


def test_a_module_with_its_hooks(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    state = module.state_dict()  # an OrderedDict with an attribute of its own, _metadata
    check_equal(open_tensors(saved(tmp_path, {"state_dict": state})), state)


def test_a_file_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path, {"a": GRID})
    finally:
        torch.serialization.set_crc32_options(True)
    check_equal(open_tensors(path), {"a": GRID})


def test_the_name_of_the_file_says_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": GRID}).rename(tmp_path / "model.safetensors")
    check_equal(open_tensors(path), {"a": GRID})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.nn.Linear(2, 2), "a pickled object (torch.nn.modules.linear.Linear)"),
        ({"model": torch.nn.Linear(2, 2)}, "'model' is a pickled object"),
        (GRID, "it holds a single tensor"),
        ([GRID], "it holds a list"),
        ({"a": 1}, "it holds no weights"),
        ({"a": GRID.to_sparse()}, "a tensor of a kind that is not read"),
    ],
    ids=["module", "module under model", "tensor", "list", "no tensors", "sparse"],
)
def test_other_pickles_are_refused_by_what_they_are(
    content: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        open_tensors(saved(tmp_path, content))
    assert message in caught.value.message


def test_peeking_tells_the_same_and_writes_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path, {"state_dict": {"a": GRID, "b": GRID.half()}, "global_step": 1})
    peeked = peek_tensors(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.ckpt"]
    opened = open_tensors(path)
    assert peeked.infos == opened.infos
    assert peeked.metadata == opened.metadata


@pytest.mark.parametrize("kind", ["folder", "missing"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "model.ckpt"
    with pytest.raises(InputError):
        open_tensors(path)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "model.ckpt")
    with pytest.raises(InputError, match="a pipe or a device"):
        open_tensors(tmp_path / "model.ckpt")


class Notices(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


def test_what_hyper_parameters_hold_is_left_aside_and_listed_once(tmp_path: Path) -> None:
    hyper = {
        "any": typing.Any,
        "optional": typing.Optional[int],  # noqa: UP045
        "lists": list[int],
        "partial": functools.partial(int, base=2),
        "generator": np.random.default_rng(0),
        "pattern": re.compile("a"),
        "rest": ...,
        "random": random.Random(0),
        "signature": inspect.signature(Callback),
        "logger": logging.getLogger("a"),
        "url": urllib.parse.urlparse("https://example.org"),
        "signal": signal.SIGTERM,
        "folder": PosixPath("a"),
    }
    path = saved(tmp_path, {"state_dict": {"a": GRID}, "hyper_parameters": hyper})
    notices = Notices()
    opened = open_tensors(path, notices)
    check_equal(opened, {"a": GRID})
    told = [notice for notice in notices.texts if notice.startswith("left aside")]
    assert len(told) == 1
    for name in ("typing.Any", "functools.partial", "re._compile", "random.Random"):
        assert told[0].count(name) == 1
    assert "numpy" not in told[0]


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_nan_matters_only_where_it_is_read(suffix: str, tmp_path: Path) -> None:
    weights = {"good": GRID, "bad": torch.full((3,), torch.nan)}
    path = tmp_path / f"model{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": weights}, path)
    else:
        save_file(weights, path)
    opened = open_tensors(path)
    assert torch.equal(opened.read("good"), GRID)
    assert opened.read_unused("bad").isnan().all()
    with pytest.raises(IntegrityError, match=r"model.*'bad' holds NaN"):
        opened.read("bad")
