"""An LDM config file (``v1-inference.yaml`` and others): what it says beyond the shapes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esdctl.errors import InputError
from esdctl.settings.yaml_file import load_yaml

LARGEST = 1 << 20  # bytes; the published ones have about 2 kB
_NOISE: Mapping[str, tuple[str, type[float] | type[int]]] = {
    "linear_start": ("beta_start", float),
    "linear_end": ("beta_end", float),
    "timesteps": ("num_train_timesteps", int),
}


@dataclass(frozen=True)
class LdmConfig:
    """What an LDM config file says; the defaults are those of a model without one.

    Args:
        heads: attention heads of every level.
        channels_a_head: in place of ``heads``.
        prediction_type: ``epsilon`` or ``v_prediction``; None without a file.
        scale_factor: of the latents.
        noise: what it says of the noise schedule, as in scheduler_config.json.
        unet: its U-Net's parameters, to be compared with the tensors.
        layer: which of OpenCLIP's layers is read, ``last`` or ``penultimate``.
        esdctl: the architecture that ``ldm_yaml`` wrote.
        source: the file.
    """

    heads: int | None = None
    channels_a_head: int | None = None
    prediction_type: str | None = None
    scale_factor: float | None = None
    noise: Mapping[str, float | int] = field(default_factory=dict)
    unet: Mapping[str, Any] | None = None
    layer: str | None = None
    esdctl: Mapping[str, Any] | None = None
    source: Path | None = None

    def compare(self, unet: Mapping[str, Any], checkpoint: Path) -> None:
        """Refuse a file that describes another U-Net than the checkpoint holds.

        Args:
            unet: the U-Net's config as its tensors tell it.
            checkpoint: for the message.

        Raises:
            InputError: they contradict each other.
        """
        if self.unet is None:
            return
        width, mult = self.unet.get("model_channels"), self.unet.get("channel_mult")
        sizes = {
            "cross_attention_dim": self.unet.get("context_dim"),
            "in_channels": self.unet.get("in_channels"),
            "layers_per_block": self.unet.get("num_res_blocks"),
        }
        if isinstance(width, int) and isinstance(mult, list):
            sizes["block_out_channels"] = [round(width * factor) for factor in mult]
        for key, value in sizes.items():
            if value is not None and value != unet[key]:
                raise InputError(
                    f"{self.source} and {checkpoint} disagree: {key} is {value} in the config "
                    f"file and {unet[key]} in the checkpoint",
                    "name the config file that belongs to the checkpoint, or none",
                )


def read_ldm_config(path: Path) -> LdmConfig:
    """Read an LDM config file; nothing in it is imported or called.

    Raises:
        InputError: it is missing, no YAML, or holds no U-Net.
    """
    params = _section(_load(path), "model", "params")
    unet = _section(params, "unet_config", "params") or _section(params, "network_config", "params")
    if not unet:
        raise InputError(
            f"{path} is no LDM config file: it has no model.params.unet_config.params",
            "give a file such as v1-inference.yaml",
        )
    _refuse_others(params, path)
    heads, channels = unet.get("num_heads"), unet.get("num_head_channels")
    try:
        return LdmConfig(
            heads=int(heads) if heads not in (None, -1) else None,
            channels_a_head=int(channels) if channels not in (None, -1) else None,
            prediction_type=_prediction(params, path),
            scale_factor=float(params.get("scale_factor") or 0) or None,
            noise={
                name: kind(params[key])
                for key, (name, kind) in _NOISE.items()
                if params.get(key) is not None
            },
            unet=unet,
            layer=_layer(params, path),
            esdctl=_section(_load(path), "esdctl", "architecture") or None,
            source=path,
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}", "correct the config file") from error


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"no such file: {path}", "check --model-config-path")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path} is too large for an LDM config file", "give another file")
    document = load_yaml(path)
    return document if isinstance(document, dict) else {}


def _section(document: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The mapping below these names; empty where one of them is missing."""
    for name in names:
        below = document.get(name)
        if not isinstance(below, dict):
            return {}
        document = below
    return document


def _prediction(params: Mapping[str, Any], path: Path) -> str:
    """LDM says ``parameterization: v``, and eps by silence; SDXL's files name the scaling."""
    value = params.get("parameterization")
    if value is None:
        scaling = _section(params, "denoiser_config", "params", "scaling_config").get("target", "")
        return "v_prediction" if str(scaling).endswith("VScaling") else "epsilon"
    names = {"v": "v_prediction", "eps": "epsilon"}
    if value not in names:
        raise InputError(
            f"{path}: cannot use parameterization {value!r}", "only eps and v can be trained"
        )
    return names[value]


def _layer(params: Mapping[str, Any], path: Path) -> str | None:
    value = _section(params, "cond_stage_config", "params").get("layer")
    if value is None or value in ("last", "penultimate"):
        return None if value is None else str(value)
    raise InputError(f"{path}: cannot use the text encoder's layer {value!r}", "use last")


def _refuse_others(params: Mapping[str, Any], path: Path) -> None:
    """What would be computed otherwise: another schedule, or conditions beside the prompt."""
    allowed = {
        "beta_schedule": (None, "linear"),
        "conditioning_key": (None, "crossattn"),
        "zero_terminal_snr": (None, False),
        "rescale_betas_zero_snr": (None, False),
        "use_zero_snr": (None, False),
    }
    for key, values in allowed.items():
        if params.get(key) not in values:
            raise InputError(
                f"{path}: cannot use {key} {params[key]!r}",
                "use a model with Stable Diffusion's own schedule that is told the prompt alone",
            )
