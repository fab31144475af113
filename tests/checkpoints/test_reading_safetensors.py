"""safetensors as others write them: read as they are, mapped, with their metadata."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.safetensors.writing import write_safetensors
from esdctl.checkpoints.tensor_file import open_tensors, peek_tensors
from esdctl.checkpoints.tensor_info import DTYPES, TensorInfo
from esdctl.errors import InputError


@pytest.mark.parametrize("is_mapped", [True, False])
def test_what_safetensors_writes_is_read(is_mapped: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    weights = {name: torch.ones(2, 3).to(dtype) for name, dtype in DTYPES.items()}
    weights |= {"nothing": torch.empty(0, 3), "single": torch.ones(1)}
    save_file(weights, path, {"about": "a test"})
    opened = open_tensors(path, is_mapped=is_mapped)
    assert opened.metadata == {"about": "a test"}
    for name, tensor in weights.items():
        assert opened.read(name).dtype == tensor.dtype
        assert opened.infos[name].bytes == tensor.nbytes
        assert torch.equal(opened.read(name).view(torch.uint8), tensor.view(torch.uint8))
    assert peek_tensors(path).infos == opened.infos
    assert [file.name for file in tmp_path.iterdir()] == ["model.ckpt"]


def test_reading_maps_and_copies_nothing(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4)}, tmp_path / "a.safetensors")
    opened = open_tensors(tmp_path / "a.safetensors")
    assert opened.read("a").data_ptr() == opened.read("a").data_ptr()


def test_what_is_not_mapped_is_read_anew_and_opens_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.arange(4.0), "b": torch.arange(3)}, path)
    opened = open_tensors(path, is_mapped=False)
    first, second = opened.read("a"), opened.read("a")
    assert first.data_ptr() != second.data_ptr()
    assert "_opened" not in vars(opened)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="ends before 'b' does"):
        opened.read("b")


def test_a_header_without_padding_is_read(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"weight": entry}).encode()
    header += b" " * (-len(header) % 8 + 3)
    data = struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1, 2)
    (tmp_path / "a.safetensors").write_bytes(data)
    assert open_tensors(tmp_path / "a.safetensors").read("weight").tolist() == [1, 2]


def test_an_unknown_tensor_is_an_input_error(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="holds no tensor 'b'"):
        open_tensors(tmp_path / "a.safetensors").read("b")


def test_what_the_writer_writes_safetensors_reads(tmp_path: Path) -> None:
    infos = {"a": TensorInfo("F32", (2,)), "b": TensorInfo("U8", (3,))}
    data = struct.pack("<2f", 1, 2), b"\1\2", b"\3"
    write_safetensors(tmp_path / "a.safetensors", infos, data, {"k": "v"})
    loaded = load_file(tmp_path / "a.safetensors")
    assert loaded["a"].tolist() == [1, 2]
    assert loaded["b"].tolist() == [1, 2, 3]
