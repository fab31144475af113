"""Which settings decide what comes out of a run; their digest names it."""

import hashlib
import json

from esdctl.erasing.concepts import Concept
from esdctl.erasing.config import TrainConfig
from esdctl.storage.digest import sha256_file

# They change how a run is done, not what comes out of it.
CHANGEABLE = {
    "devices", "save_every", "gradient_checkpointing", "format", "output_dir", "output_name",
    "tracker", "tracker_project", "tracker_run", "pool", "contact_sheet",
}  # fmt: skip
_LEFT_OUT = {*CHANGEABLE, "model", "model_config_path"}
# Younger than the first runs, which go on without them.
_IF_GIVEN = {"dtype", "prediction_type", "until", "probe_every", "warm_start", "compile"}
_WITHOUT_EFFECT = {  # on trajectories of these kinds
    "exact": {"pool_size", "pool_uses"}, "rolling": {"pool_uses"}, "frozen": set[str](),
}  # fmt: skip


def settings_digest(config: TrainConfig, concept: Concept, base_digest: str) -> str:
    """sha256 over all that decides the result.

    Args:
        config: every setting.
        concept: its prompts and the retained ones.
        base_digest: of the base model.
    """
    settings = config.model_dump(
        mode="json", exclude=_LEFT_OUT | _WITHOUT_EFFECT[config.trajectory]
    )
    content: dict[str, object] = {
        "settings": {
            k: v for k, v in settings.items() if k not in _IF_GIVEN or v not in (None, False)
        },
        "prompts": concept.prompts,
        "retained": concept.retained,
        "base": base_digest,
    }
    if config.model_config_path is not None:
        content["model_config"] = sha256_file(config.model_config_path)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
