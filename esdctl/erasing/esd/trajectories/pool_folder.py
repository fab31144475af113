"""Pools of frozen trajectories on disk, so that a sweep over methods, eta or lr pays for them once.

A pool depends on the base, the prompts, the schedule, guidance, DDIM steps, size and seed, and on
nothing that a train method, eta, the learning rate or the batch size change. A digest of the former
is in its file's name and in its header:

    <16 digits of the digest>-<number>.safetensors    the tensors of ``Pool``; metadata: digest
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from esdctl.erasing.concepts import Concept
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.trajectories.pool import Pool, pool_of_tensors
from esdctl.errors import InputError
from esdctl.storage.atomic import write_with

_OF_CONFIG = {
    "start_guidance", "ddim_steps", "pool_size", "seed", "prediction_type", "image_size",
}  # fmt: skip


@dataclass(frozen=True)
class PoolFolder:
    """Where the pools of one description are.

    Args:
        path: the folder that the user named; other descriptions' pools may lie there as well.
        digest: of everything that decides what is in them.
    """

    path: Path
    digest: str

    def read(self, number: int) -> Pool | None:
        """A pool that was kept; None if it was not.

        Raises:
            InputError: the file is damaged, or is none of ours.
        """
        path = self._file(number)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("digest") != self.digest:
                    raise ValueError("its digest is another")
                return pool_of_tensors({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, ValueError, KeyError) as error:
            raise InputError(
                f"the pool {path} is damaged ({error})", "remove it; it is sampled again"
            ) from error

    def write(self, number: int, pool: Pool) -> None:
        """Keep a pool.

        Raises:
            StorageError: the disk is full or not writable.
        """
        tensors = {name: tensor.contiguous() for name, tensor in pool.tensors().items()}
        metadata = {"digest": self.digest}
        write_with(self._file(number), lambda beside: save_file(tensors, beside, metadata))

    def _file(self, number: int) -> Path:
        return self.path / f"{self.digest[:16]}-{number:04d}.safetensors"


def pool_digest(
    config: TrainConfig,
    concept: Concept,
    base_digest: str,
    computed: Sequence[str],
    latent_shape: Sequence[int],
) -> str:
    """sha256 over everything that decides what pools hold.

    Args:
        config: the settings.
        concept: the prompts.
        base_digest: sha256 of the base model.
        computed: on which device, and in which type.
        latent_shape: of one latent, (4, h, w).
    """
    content: dict[str, object] = {
        "settings": config.model_dump(mode="json", include=_OF_CONFIG),
        "prompts": concept.prompts,
        "erase_from": concept.sources or concept.erase_from,
        "retained": concept.retained if config.retain_weight > 0 else (),
        "base": base_digest,
        "computed": list(computed),
        "latent": list(latent_shape),
        "torch": torch.__version__,
    }
    if config.quantize_frozen is not None:
        # The method decides which layers are exact in the frozen copy, too.
        content["quantize_frozen"] = [config.quantize_frozen, config.train_method]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
