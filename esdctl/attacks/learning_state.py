"""What an attack has learned so far, on disk: parameters, Adam's moments, and what is drawn next.

An attack that is killed goes on from it and ends as if it had not been.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from esdctl.storage.atomic import write_with

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of torch.optim.AdamW


class LearningState:
    """A file that is there while something is learned.

    Args:
        path: the file, without its suffix.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.safetensors")

    def keep(
        self,
        step: int,
        values: Sequence[torch.Tensor],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator | None = None,
    ) -> None:
        """Write what there is after ``step`` steps, in place of what was there.

        Raises:
            StorageError: the disk is full or not writable.
        """
        tensors = {"steps": torch.tensor(step)}
        for index, value in enumerate(values):
            tensors[f"{index}"] = value.detach()
            tensors |= {f"{index}.{key}": optimizer.state[value][key] for key in MOMENTS}
        if generator is not None:
            tensors["generator"] = generator.get_state()
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        write_with(self._path, lambda partial: save_file(tensors, partial))

    @torch.no_grad()
    def restore(
        self,
        values: Sequence[torch.Tensor],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator | None = None,
    ) -> int:
        """Put the file's values, if there is one, in place; gives the steps that were taken."""
        if not self._path.is_file():
            return 0
        found = load_file(self._path)
        for index, value in enumerate(values):
            value.copy_(found[f"{index}"])
            # Adam computes with ``step`` where it is, and with the moments beside the values.
            optimizer.state[value] = {
                key: found[f"{index}.{key}"].to("cpu" if key == "step" else value.device)
                for key in MOMENTS
            }
        if generator is not None:
            generator.set_state(found["generator"])
        return int(found["steps"])

    def forget(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
