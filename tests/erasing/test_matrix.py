"""The matrix: family x layout x train method x devices, with a real step in each cell."""

from itertools import product
from pathlib import Path

import pytest
import torch

from esdctl.erasing.esd.checkpoint import Checkpoints
from esdctl.erasing.esd.step import Embeddings
from esdctl.erasing.esd.student import Student
from esdctl.erasing.train_methods import RULES
from esdctl.errors import DeviceError, UsageError
from esdctl.models.devices import existing_devices, find_devices
from tests.checkpoints.tiny_models import FAMILIES, Family
from tests.erasing.families import LAYOUTS, Case, embeddings_of, sha256, write_families

CUDA = torch.cuda.device_count()
DEVICES = ["cpu", "cpu,cpu", *["0"][:CUDA], *["0,1"][: CUDA // 2]]

# All cells of these; of the other methods two that differ in layout and in devices.
WHOLE = ("xattn", "full")

Models = dict[tuple[Family, str], Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return write_families(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def embeddings(models: Models) -> dict[Family, Embeddings]:
    return {family: embeddings_of(models[family, "diffusers"]) for family in FAMILIES}


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_moves_the_same_parameters_alike_in_either_layout_and_on_any_devices(
    family: Family,
    method: str,
    models: Models,
    embeddings: dict[Family, Embeddings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Checkpoints, "save", lambda *state: None)  # a third of the time
    if (family, method) == ("sdxl", "xlayer"):  # those blocks of SDXL have no attention
        with pytest.raises(UsageError, match="selects no parameter"):
            Case(models[family, "diffusers"], method).student()
        return
    students: dict[tuple[str, str], Student] = {}
    for layout, devices in cells_of(method):
        case = Case(models[family, layout], method, devices)
        student = case.one_step(embeddings[family], tmp_path / f"{layout} {devices}")
        students[layout, devices] = student
        moved = [
            not torch.equal(value.cpu(), student.selected[name].detach().cpu())
            for name, value in student.frozen.items()
        ]
        assert sum(moved) > 0.9 * len(moved)
    for layout in LAYOUTS if method in WHOLE else ():
        assert sha256(students[layout, "cpu"]) == sha256(students[layout, "cpu,cpu"])
    first, *others = students.values()
    for other in others:
        assert share_that_differs(first, other) < 0.05


def cells_of(method: str) -> list[tuple[str, str]]:
    """Layouts and devices in which a method takes a step."""
    if method in WHOLE:
        return list(product(LAYOUTS, DEVICES))
    return [(layout, DEVICES[index % len(DEVICES)]) for index, layout in enumerate(LAYOUTS)]


def share_that_differs(one: Student, other: Student) -> float:
    """Of the elements; the first step of Adam is the gradient's sign, which is noise near 0."""
    assert one.selected.keys() == other.selected.keys()
    differs = torch.cat(
        [
            (value - other.selected[name].to(value.device)).abs().flatten() > 1e-4
            for name, value in one.selected.items()
        ]
    )
    return differs.float().mean().item()


@pytest.mark.parametrize("devices", ["9", "9,9", "0,9", "cuda:9", "mps", "cpu,cuda:9", "tpu"])
def test_a_device_that_is_not_here_is_refused_with_what_is(devices: str) -> None:
    if devices in existing_devices():
        pytest.skip("it is here")
    with pytest.raises(DeviceError, match="no device") as caught:
        find_devices(devices)
    assert all(name in caught.value.hint for name in existing_devices())
    assert "--device" in caught.value.hint
