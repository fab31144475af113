"""CLIP (Radford et al. 2021) from a folder of Hugging Face's: pictures and texts, one space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from esdctl.checkpoints.tensor_file import open_tensors
from esdctl.errors import InputError
from esdctl.evaluation.encoders.encoder import Encode
from esdctl.progress import Reporter
from esdctl.storage.digest import sha256_files

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TEXTS_AT_ONCE = 64
_HINT = "esdctl download clip-vit-l-14, or give a folder that transformers saved a CLIPModel into"

EncodeTexts = Callable[[Sequence[str]], torch.Tensor]


@dataclass(frozen=True)
class ClipFolder:
    """A folder with a whole CLIP; ``open_clip_folder`` has looked at it.

    Args:
        folder: where it lies.
        weights: its file of weights.
    """

    folder: Path
    weights: Path

    @property
    def name(self) -> str:
        vision = self._config.vision_config
        layers = f"{vision.num_hidden_layers} layers, patch {vision.patch_size}"
        return f"CLIP {self.folder.name} ({layers}), {self._config.projection_dim} features"

    @property
    def size(self) -> str:
        side = self._config.vision_config.image_size
        return f"{side} x {side}"

    @property
    def resize(self) -> str:
        return "bicubic, antialiased, shorter side, centre crop"

    def digest(self) -> str:
        """sha256 over configuration, preparation and weights."""
        files = (self.folder / CONFIG, self.folder / PROCESSOR, self.weights)
        return sha256_files({path.name: path for path in files})

    def load(self, device: torch.device, reporter: Reporter) -> Encode:
        """Read the weights, in fp32; features are the projected ones, not normalised.

        Raises:
            InputError: they do not fit the configuration.
            IntegrityError: the file is damaged, or would run code.
        """
        return self.load_both(device, reporter)[0]

    def load_both(self, device: torch.device, reporter: Reporter) -> tuple[Encode, EncodeTexts]:
        """The same for pictures and for texts, which are cut at the model's length (77 tokens).

        Raises:
            InputError, IntegrityError: as ``load``; or there is no tokenizer.
        """
        from transformers import AutoImageProcessor, CLIPTokenizer

        from esdctl.models.quiet_libraries import quiet_libraries

        quiet_libraries()
        model = self._model(reporter).to(device)
        try:
            # Pillow's backend everywhere: torchvision's resizes a little otherwise.
            prepare = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                self.folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )
            tokenizer = CLIPTokenizer.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # transformers raises OSError, ValueError and many more
            raise InputError(f"cannot read {self.folder}: {error}", _HINT) from error
        longest = self._config.text_config.max_position_embeddings

        @torch.inference_mode()
        def encode(pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
            inputs = prepare(images=list(pictures), return_tensors="pt")["pixel_values"]
            seen = model.vision_model(inputs.to(device)).pooler_output  # (B, width)
            features: torch.Tensor = model.visual_projection(seen).float().cpu()
            return features

        @torch.inference_mode()
        def encode_texts(texts: Sequence[str]) -> torch.Tensor:
            rows = []
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                tokens = tokenizer(
                    list(texts[start : start + TEXTS_AT_ONCE]),
                    padding=True, truncation=True, max_length=longest, return_tensors="pt",
                ).to(device)  # fmt: skip
                read = model.text_model(**tokens).pooler_output  # (B, width)
                rows.append(model.text_projection(read).float().cpu())
            return torch.cat(rows)

        return encode, encode_texts

    @cached_property
    def _config(self) -> Any:
        from transformers import CLIPConfig

        try:
            return CLIPConfig.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # as above
            raise InputError(f"cannot read {self.folder / CONFIG}: {error}", _HINT) from error

    def _model(self, reporter: Reporter) -> Any:
        """The model with its weights; read by our own reader, so a pickle runs nothing."""
        from transformers import CLIPModel

        file = open_tensors(self.weights, reporter)
        with torch.device("meta"):
            model = CLIPModel(self._config)
        # 0, 1, 2, ...: older files store them, and the model makes its own.
        values = {
            name: file.read(name).float()
            for name in file.infos
            if not name.endswith("position_ids")
        }
        try:
            model.load_state_dict(values, assign=True)
        except RuntimeError as error:
            raise InputError(f"{self.weights} is no CLIP of {CONFIG}: {error}", _HINT) from error
        for part in (model.text_model, model.vision_model):
            places = part.embeddings.position_ids
            part.embeddings.position_ids = torch.arange(places.shape[-1]).expand(places.shape)
        return model.train(False)


def open_clip_folder(text: str, models: Path) -> ClipFolder:
    """Look at a folder; no weight is read.

    Args:
        text: the folder, relative to here or to ``models``.
        models: the workspace's folder of models.

    Raises:
        InputError: there is no such folder, or a file is missing in it.
    """
    folder = next((path for path in (Path(text), models / text) if path.is_dir()), None)
    if folder is None:
        raise InputError(f"there is no folder {text}, here or in {models}", _HINT)
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    missing = [name for name in (CONFIG, PROCESSOR) if not (folder / name).is_file()]
    missing += [] if weights else [WEIGHTS[0]]
    if missing or weights is None:
        raise InputError(f"{folder} lacks {', '.join(missing)}", _HINT)
    return ClipFolder(folder, weights)
