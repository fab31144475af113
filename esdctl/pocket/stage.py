"""One stage of making the pocket model: a training loop with a time budget that survives kill -9.

The learning rate depends on the time spent so far as a share of the budget (linear warm-up,
constant, linear decay over the last 35 %), so a stage that is stopped and resumed, on any day,
ends where an unbroken one ends.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

SAVE_EVERY_SECONDS = 60.0
WARM_UP = 0.03
DECAY = 0.35


@dataclass(frozen=True)
class Stage:
    """What a stage trains, and for how long.

    Args:
        name: file name of its checkpoint.
        minutes: its time budget.
        lr: peak learning rate.
        ema_decay: of the averaged weights that the stage returns; 0 for none.
    """

    name: str
    minutes: float
    lr: float
    ema_decay: float = 0.0


def run_stage(
    stage: Stage,
    work: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_at: Callable[[int], torch.Tensor],
) -> nn.Module:
    """Train ``model`` until the stage's time is spent; leave its averaged weights in it.

    Args:
        stage: name, budget and rates.
        work: folder of the checkpoints.
        model: the module, changed in place.
        optimizer: over the model's parameters.
        loss_at: step -> scalar loss; its randomness must depend on the step alone.

    Returns:
        ``model``, in evaluation mode.
    """
    path = work / f"{stage.name}.pt"
    step, elapsed, average = 0, 0.0, [p.detach().clone() for p in model.parameters()]
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed, average = state["step"], state["elapsed"], state["average"]
    budget = stage.minutes * 60
    model.train()
    last_saved, last_shown, smooth = elapsed, -100.0, 0.0
    while elapsed < budget:
        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = stage.lr * group.get("scale", 1.0) * _shape(elapsed / budget)
        loss = loss_at(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        _update(average, model, min(stage.ema_decay, (1 + step) / (10 + step)))
        step += 1
        smooth = (
            float(loss.detach()) if smooth == 0 else 0.98 * smooth + 0.02 * float(loss.detach())
        )
        # The first step compiles; that is not training time.
        elapsed += min(time.monotonic() - began, 5.0)
        if elapsed - last_shown > 15:
            last_shown = elapsed
            print(
                f"{stage.name}: step {step} loss {smooth:.4f} {elapsed:.0f}/{budget:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        if elapsed - last_saved > SAVE_EVERY_SECONDS or elapsed >= budget:
            last_saved = elapsed
            _save(
                path,
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "elapsed": elapsed,
                    "average": average,
                },
            )
    for parameter, mean in zip(model.parameters(), average, strict=True):
        parameter.data.copy_(mean)
    return model.eval()


def _shape(done: float) -> float:
    return max(0.003, min(1.0, done / WARM_UP, (1.0 - done) / DECAY))


@torch.no_grad()
def _update(average: list[torch.Tensor], model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 1.0 - decay)


def _save(path: Path, state: dict[str, object]) -> None:
    beside = path.with_suffix(".partial")
    torch.save(state, beside)
    beside.replace(path)
