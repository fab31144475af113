"""One stage of making the pocket model: a training loop with a time budget that survives kill -9.

The learning rate depends on the time spent so far as a share of the budget (linear warm-up,
constant, linear decay over the last 35 %), so a stage that is stopped and resumed, on any day,
goes through the same curve as an unbroken one.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

SAVE_EVERY_SECONDS = 60.0
SHOW_EVERY_SECONDS = 15.0
LONGEST_STEP_SECONDS = 5.0  # a longer one met a suspended machine; that is not training time
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
    done = _resume(path, model, optimizer)
    budget = stage.minutes * 60
    model.train()
    last_saved, last_shown = done.elapsed, -SHOW_EVERY_SECONDS
    while done.elapsed < budget:
        began = time.monotonic()
        rate = stage.lr * _shape(done.elapsed / budget)
        loss = _step(model, optimizer, rate, lambda: loss_at(done.step))
        _update(done.average, model, min(stage.ema_decay, (1 + done.step) / (10 + done.step)))
        done.step += 1
        done.elapsed += min(time.monotonic() - began, LONGEST_STEP_SECONDS)
        if done.elapsed - last_shown > SHOW_EVERY_SECONDS:
            last_shown = done.elapsed
            shown = f"step {done.step} loss {loss:.4f} {done.elapsed:.0f}/{budget:.0f} s"
            print(f"{stage.name}: {shown}", file=sys.stderr, flush=True)
        if done.elapsed - last_saved > SAVE_EVERY_SECONDS or done.elapsed >= budget:
            last_saved = done.elapsed
            states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            _save(path, {**states, **vars(done)})
    for parameter, mean in zip(model.parameters(), done.average, strict=True):
        parameter.data.copy_(mean)
    return model.eval()


@dataclass
class _Done:
    """How far a stage is: steps, seconds spent on them, and the averaged weights."""

    step: int
    elapsed: float
    average: list[torch.Tensor]


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> _Done:
    """Restore the checkpoint in place; without one, begin."""
    if not path.exists():
        return _Done(0, 0.0, [p.detach().clone() for p in model.parameters()])
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return _Done(state["step"], state["elapsed"], state["average"])


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rate: float,
    loss_now: Callable[[], torch.Tensor],
) -> float:
    """One optimiser step at a learning rate; gives the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = loss_now()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _shape(done: float) -> float:
    return max(0.003, min(1.0, done / WARM_UP, (1.0 - done) / DECAY))


@torch.no_grad()
def _update(average: list[torch.Tensor], model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 1.0 - decay)


def _save(path: Path, state: dict[str, object]) -> None:
    temporary = path.with_suffix(".partial")
    torch.save(state, temporary)
    temporary.replace(path)
