"""Frozen layers stored otherwise: the same products, of a weight that is not kept."""

from collections.abc import Sequence

import pytest
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.esd.student import Student, new_student
from esdctl.erasing.train_methods import select
from esdctl.models.frozen_layers import FrozenLinear, FrozenStorage
from esdctl.models.quantization import Form
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from tests.checkpoints.tiny_flow_models import tiny_sd3
from tests.checkpoints.tiny_flux_models import tiny_flux

CPU = torch.device("cpu")
TOKENS, ROWS = 5, 2


@pytest.fixture(scope="module", params=["sd3", "flux"])
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("base") / "model"
    return Pipeline("model", {"sd3": tiny_sd3, "flux": tiny_flux}[request.param](folder))


def students(
    pipeline: Pipeline, dtype: torch.dtype, storage: FrozenStorage
) -> tuple[Student, Student]:
    """One with its layers as they are, and one with ``storage``."""
    made = []
    for each in (None, storage):
        model = load(pipeline, CPU, dtype, each)
        made.append(
            new_student(model.denoiser, model.family.denoiser, sorted(storage.trained), None, dtype)
        )
    return made[0], made[1]


def trained(pipeline: Pipeline, method: str) -> frozenset[str]:
    names = pipeline.files.denoiser_shapes()
    return frozenset(select(method, names, pipeline.files.architecture.family))


def answers(student: Student) -> Sequence[torch.Tensor]:
    """The prediction, the frozen copy's, and all gradients."""
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(ROWS, 16, 4, 4, generator=draw)
    told = torch.randn(ROWS, TOKENS, 64, generator=draw)
    width = student.network.config.pooled_projection_dim
    pooled = torch.randn(ROWS, width, generator=draw)
    asked = Conditioning(told, pooled, guidance=torch.full((ROWS,), 3.5))
    t = torch.full((ROWS,), 500.0)
    with torch.no_grad():
        for parameter in student.selected.values():
            parameter.mul_(1.1)
    frozen = student.denoise_frozen(latents, t, asked)
    prediction = student.denoise(latents, t, asked)
    prediction.square().mean().backward()
    gradients = [p.grad for p in student.selected.values() if p.grad is not None]
    assert gradients
    return [prediction.detach(), frozen, *gradients]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["text-kv", "joint-attn"])
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_layers_on_the_host_give_the_same_bits(
    dtype: torch.dtype, method: str, is_checkpointed: bool, pipeline: Pipeline
) -> None:
    both = students(pipeline, dtype, FrozenStorage(trained(pipeline, method), on_host=True))
    if is_checkpointed:
        both[1].network.enable_gradient_checkpointing()
    for found, expected in zip(answers(both[1]), answers(both[0]), strict=True):
        assert torch.equal(found, expected)


def test_what_moves_and_what_is_outside_the_blocks_stays_a_parameter(pipeline: Pipeline) -> None:
    chosen = trained(pipeline, "text-kv")
    network = load(pipeline, CPU, torch.float32, FrozenStorage(chosen, on_host=True)).denoiser
    stored = {name for name, part in network.named_modules() if isinstance(part, FrozenLinear)}
    assert any(name.endswith("attn.to_q") for name in stored)
    left = {name for name, _ in network.named_parameters()}
    assert chosen <= left
    assert {"context_embedder.weight", "proj_out.weight"} <= left
    assert not {f"{name}.weight" for name in stored} & left
    every = set(load(pipeline, CPU).denoiser.state_dict())
    assert every - set(network.state_dict()) == {f"{name}.weight" for name in stored}


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize(("kind", "loss"), [("int8", 0.008), ("nf4", 0.095)])
@pytest.mark.parametrize("shape", [(96, 64), (7, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_normal_matrix_loses_what_the_form_says(
    kind: str, loss: float, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    form = Form(matrix.shape, dtype, kind)  # type: ignore[arg-type]
    stored = form.pack(matrix)
    again = form.unpack(*stored)
    assert again.dtype == dtype
    assert again.shape == matrix.shape
    assert 0 < (again - matrix).float().norm() < 1.2 * loss * matrix.float().norm()
    size = sum(each.nbytes for each in stored) / matrix.numel()
    if matrix.numel() > 1000:
        assert size == pytest.approx({"int8": 1 + 4 / 256, "nf4": 0.5 + 4 / 64}[kind])


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize(("kind", "most"), [("int8", 0.05), ("nf4", 0.5)])
def test_quantised_layers_predict_nearly_the_same(
    kind: str, most: float, pipeline: Pipeline
) -> None:
    storage = FrozenStorage(trained(pipeline, "text-kv"), kind)  # type: ignore[arg-type]
    plain, small = map(answers, students(pipeline, torch.float32, storage))
    for found, expected in zip(small, plain, strict=True):
        assert 0 < (found - expected).norm() < most * expected.norm()
