"""16 bits, gradient checkpointing and a second device change memory and time, not the erasure."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings, step_loss
from esdctl.erasing.esd.student import Student, new_student
from esdctl.erasing.esd.trajectories.exact import draw, exact_pairs
from esdctl.erasing.frozen_storage import load_to_train
from esdctl.models.families.sd1 import FAMILY as SD1
from esdctl.models.named import POCKET
from esdctl.models.precision import find_dtype
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.storage.manifest import MANIFEST_NAME
from tests.checkpoints.tiny_models import tiny_folder
from tests.erasing.families import SHAPE, Case, embeddings_of, pipeline, sha256

Train = Callable[..., int]
CPU = torch.device("cpu")
CONFIG = TrainConfig(concept="Rust", ddim_steps=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sd1", tmp_path_factory.mktemp("sd1") / "model")


@pytest.fixture(scope="module")
def embeddings(model: Path) -> Embeddings:
    return embeddings_of(model)


def gradients(case: Case, embeddings: Embeddings) -> tuple[float, dict[str, torch.Tensor]]:
    student = case.student()
    schedule = load(pipeline(case.model), CPU).schedule
    drawn = next(d for d in (draw(0, i, 3, 1, 0, SHAPE) for i in range(99)) if d.bin == 1)
    pairs = exact_pairs(student, schedule, embeddings, CONFIG, drawn)
    loss = step_loss(student, pairs, CONFIG.negative_guidance).erase
    loss.backward()
    return loss.item(), {n: p.grad for n, p in student.selected.items() if p.grad is not None}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_keep_fp32_masters_that_were_never_rounded(dtype: torch.dtype, model: Path) -> None:
    student = Case(model, dtype=dtype).student()
    values = load(pipeline(model), CPU).denoiser_values
    for name, master in student.selected.items():
        assert master.dtype == torch.float32
        assert torch.equal(master, values[name])
        assert torch.equal(student.frozen[name], values[name].to(dtype))
    others = [p for n, p in student.network.named_parameters() if n not in student.selected]
    assert {p.dtype for p in others} == {dtype}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_give_nearly_the_same_gradients_on_a_model_that_has_learnt(
    dtype: torch.dtype,
) -> None:
    embeddings = embeddings_of(POCKET)
    exact_loss, exact = gradients(Case(POCKET), embeddings)
    loss, near = gradients(Case(POCKET, dtype=dtype), embeddings)
    assert loss == pytest.approx(exact_loss, rel=0.2)
    one, other = (torch.cat([g.flatten() for g in each.values()]) for each in (exact, near))
    assert torch.cosine_similarity(one, other, dim=0) > 0.95


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_in_each_type_is_finite_and_the_same_on_two_devices(
    dtype: torch.dtype, model: Path, embeddings: Embeddings, tmp_path: Path
) -> None:
    one, two = (
        Case(model, devices=devices, dtype=dtype).one_step(embeddings, tmp_path / devices)
        for devices in ("cpu", "cpu,cpu")
    )
    assert all(bool(p.isfinite().all()) for p in one.selected.values())
    assert sha256(one) == sha256(two)
    assert sha256(one) != sha256(Case(model, dtype=dtype).student())


def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less(
    model: Path, embeddings: Embeddings
) -> None:
    plain, checkpointed = (
        gradients(Case(model, gradient_checkpointing=flag), embeddings) for flag in (False, True)
    )
    assert plain[0] == checkpointed[0]
    for name, gradient in plain[1].items():
        torch.testing.assert_close(checkpointed[1][name], gradient, rtol=1e-5, atol=1e-7)


def kept_for_backward(case: Case, embeddings: Embeddings) -> int:
    """Bytes that a forward pass of the student keeps for its gradient."""
    student, sizes = case.student(), []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        student.denoise(torch.zeros(SHAPE), torch.tensor([5]), embeddings.empty)
    return sum(sizes)


def test_gradient_checkpointing_keeps_less_for_the_backward_pass(
    model: Path, embeddings: Embeddings
) -> None:
    plain, checkpointed = (
        kept_for_backward(Case(model, "full", gradient_checkpointing=flag), embeddings)
        for flag in (False, True)
    )
    assert checkpointed < plain / 4


class Meeting(torch.nn.Module):
    """A U-Net that goes on only when another one has been asked as well."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.5))
        self.barrier = barrier

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, return_dict: bool
    ) -> tuple[torch.Tensor]:
        self.barrier.wait(timeout=10)
        return (self.gain * x,)


def test_with_two_devices_student_and_frozen_copy_compute_at_the_same_time() -> None:
    barrier = threading.Barrier(2)
    student = new_student(Meeting(barrier), SD1.denoiser, ["gain"], copy=Meeting(barrier))
    x, t, context = torch.ones(SHAPE), torch.tensor([3]), Conditioning(torch.zeros(1, 77, 4))
    of_frozen, of_student = student.predict_both(
        lambda: student.denoise_frozen(x, t, context), lambda: student.denoise(x, t, context)
    )
    assert torch.equal(of_frozen, of_student)
    assert of_student.requires_grad
    assert not of_frozen.requires_grad


def test_a_failure_of_either_one_is_told(model: Path) -> None:
    student = Case(model, devices="cpu,cpu").student()

    def fail() -> None:
        raise torch.OutOfMemoryError("out of memory")

    for pair in ((fail, lambda: None), (lambda: None, fail)):
        with pytest.raises(torch.OutOfMemoryError):
            student.predict_both(*pair)


def test_what_does_not_move_exists_once_on_one_device_and_stays_in_the_file(model: Path) -> None:
    student = Case(model).student()
    moving = sum(p.numel() * 4 for p in student.selected.values())
    maps = mapped_files(model / "unet")
    if not maps:
        pytest.skip("this system does not list its mappings")
    inside = [
        p
        for p in student.network.parameters()
        if any(first <= p.data_ptr() < last for first, last in maps)
    ]
    total = sum(p.numel() * 4 for p in student.network.parameters())
    assert sum(p.numel() * 4 for p in inside) == total - moving
    assert all(any(a <= v.data_ptr() < b for a, b in maps) for v in student.frozen.values())


def mapped_files(folder: Path) -> list[tuple[int, int]]:
    """Where files of a folder are mapped into this process (proc(5), maps)."""
    table = Path("/proc/self/maps")
    lines = table.read_text().splitlines() if table.exists() else []
    ranges = [line.split()[0].split("-") for line in lines if str(folder) in line]
    return [(int(first, 16), int(last, 16)) for first, last in ranges]


def test_fp32_is_what_a_cpu_computes_in_unless_another_is_named() -> None:
    assert find_dtype(None, CPU) == torch.float32
    assert find_dtype("bf16", CPU) == torch.bfloat16


def test_restoring_gives_the_original_values(model: Path, embeddings: Embeddings) -> None:
    student: Student = Case(model).student()
    before = sha256(student)
    with torch.no_grad():
        for parameter in student.selected.values():
            parameter.add_(1.0)
    student.restore()
    assert sha256(student) == before


def test_a_run_goes_on_in_the_type_in_which_it_began_wherever_that_is(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As if it had begun on CUDA, where bf16 is the default; the CPU's own is fp32."""
    loaded = []

    def watched(
        pipeline: Pipeline, config: TrainConfig, device: torch.device, dtype: torch.dtype
    ) -> StableDiffusion:
        loaded.append(dtype)
        return load_to_train(pipeline, config, device, dtype)

    monkeypatch.setattr("esdctl.erasing.erase.load_to_train", watched)
    monkeypatch.setattr("esdctl.erasing.erase.find_dtype", lambda *_: torch.bfloat16)
    assert train("--output", "run", "--no-contact-sheet") == 0
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("esdctl.erasing.erase.load_to_train", watched)
    record = json.loads(Path("run/run.json").read_text())
    record["computed"]["devices"] = ["cuda:0"]
    Path("run/run.json").write_text(json.dumps(record))
    for last in (MANIFEST_NAME, "delta.safetensors"):
        (Path("run") / last).unlink()
    assert train("--resume", "run") == 0
    assert loaded == [torch.bfloat16, torch.bfloat16]
    assert "was on cuda:0 and goes on on cpu, in bf16" in capsys.readouterr().err
    computed = json.loads(Path("run/run.json").read_text())["computed"]
    assert computed == {"devices": ["cuda:0"], "dtype": "bf16", "resumed_on": [["cpu"]]}
