"""Any image classifier in a folder as Hugging Face's transformers save it; read without a network.

Weights are read from safetensors alone, and no code of the folder runs. Labels are its config's.
A picture's sightings are its likeliest labels: probabilities that sum to 1, or, where the config
says ``multi_label_classification``, one for each label by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from esdctl.errors import InputError
from esdctl.evaluation.judges.detector import FOLDER_PREFIX, Detect, Pixels, Sighting
from esdctl.progress import Reporter
from esdctl.storage.digest import sha256_files

KEPT = 10  # labels of a picture, the likeliest
CONFIG, PROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "*.safetensors"
_HINT = "give a folder that transformers saved with save_pretrained: model and image processor"


@dataclass(frozen=True)
class ImageClassifier:
    """A folder; ``open_classifier`` has read its labels.

    Args:
        name: as the user gave it.
        folder: where it lies.
        labels: in the order of the logits.
        is_multi_label: whether a picture may show several.
    """

    name: str
    folder: Path
    labels: tuple[str, ...]
    is_multi_label: bool
    version: str = ""
    floor: float = 0.0

    def digest(self) -> str:
        """sha256 over configuration, preparation and weights."""
        files = [self.folder / CONFIG, self.folder / PROCESSOR, *self.folder.glob(WEIGHTS)]
        return sha256_files({path.name: path for path in files})

    def load(self, device: torch.device, reporter: Reporter) -> Detect:
        """Read the weights, in fp32.

        Raises:
            InputError: they are damaged, do not fit the configuration, or need code of their own.
        """
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        from esdctl.models.quiet_libraries import quiet_libraries

        quiet_libraries()
        try:
            # Pillow's backend everywhere: torchvision's resizes a little otherwise.
            prepare = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                self.folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )
            model, report = AutoModelForImageClassification.from_pretrained(
                self.folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # named below
                dtype=torch.float32,
            )
        except Exception as error:  # transformers raises OSError, ValueError and many more
            raise InputError(f"cannot read {self.folder}: {_first_line(error)}", _HINT) from error
        lost = sorted({*report["missing_keys"], *(each[0] for each in report["mismatched_keys"])})
        if lost:
            raise InputError(f"{self.folder} lacks weights of {', '.join(lost[:5])}", _HINT)
        model = model.to(device).eval()

        @torch.inference_mode()
        def detect(pictures: Pixels) -> list[list[Sighting]]:
            inputs = prepare(images=list(pictures), return_tensors="pt")["pixel_values"]
            logits = model(inputs.to(device)).logits.float()  # (B, labels)
            scores = logits.sigmoid() if self.is_multi_label else logits.softmax(1)
            return likeliest(scores, self.labels)

        return detect


def likeliest(scores: torch.Tensor, labels: Sequence[str]) -> list[list[Sighting]]:
    """The labels of the highest of the scores (B, L), the highest first."""
    best, places = scores.topk(min(KEPT, len(labels)), dim=1)
    return [
        [Sighting(labels[place], score) for score, place in zip(row, where, strict=True)]
        for row, where in zip(best.tolist(), places.tolist(), strict=True)
    ]


def open_classifier(text: str, models: Path) -> ImageClassifier:
    """Look at a folder; no weight is read.

    Args:
        text: the folder, relative to here or to ``models``.
        models: the workspace's folder of models.

    Raises:
        InputError: there is no such folder, or it is no image classifier.
    """
    from transformers import AutoConfig

    folder = next((path for path in (Path(text), models / text) if path.is_dir()), None)
    if folder is None:
        raise InputError(f"there is no folder {text}, here or in {models}", _HINT)
    missing = [name for name in (CONFIG, PROCESSOR) if not (folder / name).is_file()]
    missing += [] if any(folder.glob(WEIGHTS)) else [WEIGHTS]
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)}", _HINT)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        labels = tuple(str(config.id2label[place]) for place in range(len(config.id2label)))
    except Exception as error:  # as above
        raise InputError(f"cannot read {folder / CONFIG}: {_first_line(error)}", _HINT) from error
    multi = getattr(config, "problem_type", None) == "multi_label_classification"
    return ImageClassifier(f"{FOLDER_PREFIX}{text}", folder, labels, multi)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
