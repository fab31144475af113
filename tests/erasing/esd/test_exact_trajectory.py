"""x_t of the exact trajectory is the student's own sample at exactly t."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.ddim import ddim_timesteps, scaled_linear
from esdctl.erasing.esd.trajectories.exact import draw, exact


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 27, 30, 50, 501, 999, 1000])
def test_a_drawn_timestep_lies_in_its_bin_below_the_samplers_previous_one(steps: int) -> None:
    for step in range(40):
        drawn = draw(3, step, steps, 1, 0, (1, 4, 1, 1))
        assert 0 <= drawn.bin < steps
        assert round(1000 * drawn.bin / steps) <= drawn.place
        assert drawn.place < round(1000 * (drawn.bin + 1) / steps)
        visited = [*scaled_linear().way(steps, drawn.bin), drawn.place]
        assert len(visited) == steps - drawn.bin
        assert visited[:-1] == ddim_timesteps(steps)[: len(visited) - 1]
        assert all(later < earlier for earlier, later in pairwise(visited))


def test_all_bins_and_prompts_are_drawn_evenly() -> None:
    drawn = [draw(0, step, 5, 3, 2, (1, 4, 1, 1)) for step in range(600)]
    for values, number in (
        ([d.bin for d in drawn], 5),
        ([d.prompt for d in drawn], 3),
        ([d.retained for d in drawn], 2),
    ):
        counts = [values.count(value) for value in range(number)]
        assert sum(counts) == 600
        assert min(counts) > 600 / number * 0.7


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    one, again = draw(1, 2, 50, 4, 4, (2, 4, 8, 8)), draw(1, 2, 50, 4, 4, (2, 4, 8, 8))
    assert torch.equal(one.noise, again.noise)
    assert (one.bin, one.place, one.prompt) == (again.bin, again.place, again.prompt)
    others = [draw(1, 3, 50, 4, 4, (2, 4, 8, 8)), draw(2, 2, 50, 4, 4, (2, 4, 8, 8))]
    assert not any(torch.equal(one.noise, other.noise) for other in others)


def test_x_t_is_what_diffusers_samples_down_to_the_last_grid_step(tiny_model: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny_model, subfolder="unet").eval()
    c, empty = (
        Conditioning(row)
        for row in torch.randn(2, 1, 77, 16, generator=torch.Generator().manual_seed(0))
    )
    drawn = next(d for d in (draw(0, i, 10, 1, 0, (1, 4, 8, 8)) for i in range(99)) if d.bin == 4)

    def denoiser(x: torch.Tensor, t: torch.Tensor, context: Conditioning) -> torch.Tensor:
        return unet(x, t, context.embeddings).sample

    found = exact(denoiser, scaled_linear(), drawn, 10, c, empty, 3.0)

    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    scheduler.set_timesteps(10)
    latents = drawn.noise
    with torch.no_grad():
        for t in scheduler.timesteps.tolist()[:5]:  # 901 .. 501, the bins 9 .. 5
            eps_0, eps_c = (denoiser(latents, torch.tensor([t]), e) for e in (empty, c))
            guided = eps_0 + 3.0 * (eps_c - eps_0)
            at_500, at_t = latents, scheduler.step(guided, t, latents)
            x0 = at_t.pred_original_sample
            latents = at_t.prev_sample
        # the last step lands on the drawn t, not on the grid's 401
        a = scheduler.alphas_cumprod[drawn.place]
        expected = a.sqrt() * x0 + (1 - a).sqrt() * guided
    assert at_500 is not latents
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_noisiest_bin_is_the_noise_itself() -> None:
    drawn = next(d for d in (draw(0, i, 4, 1, 0, (1, 4, 2, 2)) for i in range(99)) if d.bin == 3)

    def never(x: torch.Tensor, t: torch.Tensor, context: Conditioning) -> torch.Tensor:
        raise AssertionError("the model was asked")

    context = Conditioning(torch.zeros(1, 77, 4))
    x_t = exact(never, scaled_linear(), drawn, 4, context, context, 3.0)
    assert torch.equal(x_t, drawn.noise)
