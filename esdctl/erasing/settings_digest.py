"""Which settings decide what comes out of a run; their digest names it."""

import hashlib
import json

from esdctl.erasing.concepts import Concept
from esdctl.erasing.config import TrainConfig
from esdctl.settings.setting import has_effect, setting_of
from esdctl.storage.digest import sha256_file

# They change how a run is done, not what comes out of it.
CHANGEABLE = {
    name for name in TrainConfig.model_fields if setting_of(TrainConfig, name).decides == "nothing"
}


def settings_digest(
    config: TrainConfig, concept: Concept, base_digest: str, lr_batch: int | None = None
) -> str:
    """sha256 over all that decides the result.

    Args:
        config: every setting.
        concept: its prompts and the retained ones.
        base_digest: of the base model.
        lr_batch: the batch that the learning rate belongs to, where the machine chooses one.
    """
    values = {
        name
        for name in TrainConfig.model_fields
        if setting_of(TrainConfig, name).decides == "value" and has_effect(config, name)
    }
    if config.iterations is not None:
        values.discard("pairs")  # the steps and their batch say the same
    if config.optimizer == "adam":
        values.discard("optimizer")  # as before there was another
    if config.quantize_frozen is None:
        values.discard("quantize_frozen")  # likewise
    content: dict[str, object] = {
        "settings": config.model_dump(mode="json", include=values),
        "prompts": concept.prompts,
        "retained": concept.retained,
        "base": base_digest,
    }
    if lr_batch is not None:
        content["lr_batch"] = lr_batch
    if concept.parts:
        content["erase_from"] = concept.sources or concept.erase_from
    if config.model_config_path is not None:
        content["model_config"] = sha256_file(config.model_config_path)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
