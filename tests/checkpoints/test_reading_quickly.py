"""Peeking at a checkpoint of 4 GB takes under two seconds: no tensor's data is read."""

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from esdctl.checkpoints.tensor_file import peek_tensors
from tests.attacks.checkpoint_builder import legacy_file, pickled, storage, table, tensor

COUNT, ELEMENTS = 1000, 2**20  # tensors, and the numbers in each: 4 GiB in fp32


def _write_legacy(path: Path) -> None:
    names = [str(number) for number in range(COUNT)]
    weights = {f"w{key}": tensor(storage(key, ELEMENTS), 0, (ELEMENTS,), (1,)) for key in names}
    head = legacy_file(pickled(table(weights)), keys=tuple(names), counts=())
    with path.open("wb") as file:
        file.write(head)
        for _ in names:
            file.write(struct.pack("<q", ELEMENTS))
            file.seek(4 * ELEMENTS, 1)
        file.truncate()


def _write_safetensors(path: Path) -> None:
    size = 4 * ELEMENTS
    places = {f"w{number}": [number * size, (number + 1) * size] for number in range(COUNT)}
    entries = {
        name: {"dtype": "F32", "shape": [ELEMENTS], "data_offsets": place}
        for name, place in places.items()
    }
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + COUNT * size)


@pytest.mark.parametrize("write", [_write_legacy, _write_safetensors])
def test_four_gigabytes_are_peeked_at_in_two_seconds(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "model.ckpt"
    write(path)  # holes, which take no room on the disk
    assert path.stat().st_size > COUNT * ELEMENTS * 4
    start = time.perf_counter()
    peeked = peek_tensors(path)
    assert time.perf_counter() - start < 2
    assert sum(info.bytes for info in peeked.infos.values()) == COUNT * ELEMENTS * 4
