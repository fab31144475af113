"""A plain ESD on StableDiffusionPipeline, as the authors' public code works; independent of ours.

Two U-Nets. A pair: the pipeline samples with the frozen one, guidance 3, 50 steps, and stops at a
random step; then the frozen U-Net is asked without a prompt, with the prompt, and the student with
the prompt, one by one at batch 1; the student moves by Adam.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

STEPS, GUIDANCE, ETA = 50, 3.0, 1.0


class PlainEsd:
    """The state of a training.

    Args:
        source: a pipeline folder, or diffusers' pipeline, whose device is where all is done.
        prompt: what is erased.
        dtype: of everything.
        lr: of Adam.
    """

    def __init__(
        self, source: Path | Any, prompt: str, dtype: torch.dtype = torch.float32, lr: float = 5e-5
    ) -> None:
        if isinstance(source, Path):
            source = StableDiffusionPipeline.from_pretrained(
                source, safety_checker=None, local_files_only=True
            )
        self.pipe: Any = source.to(dtype)
        self.pipe.scheduler = DDIMScheduler.from_config(self.pipe.scheduler.config)
        self.pipe.set_progress_bar_config(disable=True)
        for part in (self.pipe.unet, self.pipe.vae, self.pipe.text_encoder):
            part.requires_grad_(False)
        self.frozen = self.pipe.unet
        self.student = deepcopy(self.frozen)
        named = self.student.named_parameters()
        self.selected = [parameter for name, parameter in named if "attn2" in name]
        for parameter in self.selected:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.selected, lr=lr)
        with torch.no_grad():
            self.c, self.empty = self.pipe.encode_prompt(prompt, self.frozen.device, 1, True, "")
        self.prompt = prompt

    def step(self, number: int) -> float:
        """One pair and one update; the loss."""
        index = number * 31 % STEPS  # 50 steps in a row are each index once, well mixed
        x_t, t = self.sampled(index, number)
        with torch.no_grad():
            frozen_0 = self.frozen(x_t, t, self.empty, return_dict=False)[0]
            frozen_c = self.frozen(x_t, t, self.c, return_dict=False)[0]
        target = frozen_0 - ETA * (frozen_c - frozen_0)
        prediction = self.student(x_t, t, self.c, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(prediction, target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def sampled(self, index: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The latents before step ``index`` of the pipeline's sampling, and their timestep.

        The pipeline's callback ends it there; the public code has its own copy of the pipeline's
        loop for that.
        """

        class _There(Exception):
            pass

        found: dict[str, torch.Tensor] = {}

        def after(pipe: Any, step: int, t: int, given: dict[str, torch.Tensor]) -> Any:
            if step == index - 1:
                found["latents"] = given["latents"]
                raise _There
            return given

        generator = torch.Generator().manual_seed(seed)
        channels, side = self.frozen.config.in_channels, self.frozen.config.sample_size
        noise = torch.randn((1, channels, side, side), generator=generator, dtype=self.frozen.dtype)
        noise = noise.to(self.frozen.device)
        self.pipe.scheduler.set_timesteps(STEPS)
        t = self.pipe.scheduler.timesteps[index]
        if index == 0:
            return noise * self.pipe.scheduler.init_noise_sigma, t
        try:
            with torch.no_grad():
                self.pipe(
                    self.prompt, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
                    latents=noise, output_type="latent", callback_on_step_end=after,
                )  # fmt: skip
        except _There:
            pass
        return found["latents"], t
