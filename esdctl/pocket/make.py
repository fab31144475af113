"""Makes the pocket model from nothing: ``python -m esdctl.pocket.make --minutes 240``.

Draws the canvas, then trains autoencoder, classifier, text encoder and U-Net one after the other,
each for its share of ``--minutes``. Every stage keeps a checkpoint in the work folder and goes on
from it after a kill. At the end the weights are written in the diffusers layout in fp16, and
their quality on fresh seeds is printed and kept in ``metrics.json``.

Needs the extra ``make`` (scipy), and CLIP's merges file, which the open_clip_torch wheel holds.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer

from esdctl.diffusion.ddim import scaled_linear
from esdctl.evaluation.judges.pocket import PocketClassifier
from esdctl.pocket.autoencoder import decode, encode, to_tensor, train_autoencoder, train_decoder
from esdctl.pocket.captions import all_captions
from esdctl.pocket.classifier import train_classifier
from esdctl.pocket.denoiser import train_unet
from esdctl.pocket.drawn import NAMES, PER_CELL, Canvas, draw_canvas, kept_array
from esdctl.pocket.metrics import measure
from esdctl.pocket.ship import ship
from esdctl.pocket.text_encoder import embed, train_text_encoder
from esdctl.pocket.tokenizer import save_tokenizer

SHARES = {
    "autoencoder": 0.13,
    "decoder": 0.05,
    "classifier": 0.04,
    "text_encoder": 0.02,
    "unet": 0.76,
}


def main() -> None:
    """Parse the command line, run the stages, print the quality figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m esdctl.pocket.make", description=__doc__)
    parser.add_argument("--minutes", type=float, default=240, help="training time in all")
    parser.add_argument("--work", type=Path, default=Path("outputs/pocket"), help="checkpoints")
    parser.add_argument("--merges", type=Path, required=True, help="bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "weights")
    parser.add_argument("--per-cell", type=int, default=PER_CELL, help="pictures of each pair")
    parser.add_argument("--no-metrics", action="store_true", help="leave out the figures")
    arguments = parser.parse_args()
    make(arguments.minutes, arguments.work, arguments.merges, arguments.output, arguments.per_cell)
    if arguments.no_metrics:
        return
    metrics = measure(arguments.output)
    (arguments.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


def make(minutes: float, work: Path, merges: Path, output: Path, per_cell: int) -> None:
    """Train all parts and write them to ``output``.

    Args:
        minutes: training time of all stages together.
        work: folder of pictures and checkpoints; keep it to resume.
        merges: CLIP's merges file.
        output: pipeline folder to write.
        per_cell: pictures of each style x object.
    """
    work.mkdir(parents=True, exist_ok=True)
    budget = {stage: share * minutes for stage, share in SHARES.items()}
    canvas = draw_canvas(work, per_cell)
    vae = train_autoencoder(canvas.pictures, work, budget["autoencoder"])
    latents = kept_array(work / "latents.npy", lambda: encode(vae, canvas.pictures).numpy())
    train_decoder(vae, canvas.pictures, latents, work, budget["decoder"])
    classifier = _judge(canvas, vae, latents, work, budget["classifier"])
    save_tokenizer(merges, output / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(output / "tokenizer", local_files_only=True)
    encoder = _text_encoder(canvas, classifier, tokenizer, work, budget["text_encoder"])
    captions = all_captions(*NAMES)
    embeddings = {
        kind: embed(encoder, tokenizer, [caption.text for caption in group])
        for kind, group in captions.items()
    }
    scaled = torch.from_numpy(np.array(latents)) * vae.config.scaling_factor
    unet = train_unet(
        scaled,
        canvas.styles,
        canvas.objects,
        captions,
        embeddings,
        scaled_linear(),
        work,
        budget["unet"],
    )
    ship(output, unet, vae, encoder, classifier)


def _judge(
    canvas: Canvas, vae: AutoencoderKL, latents: npt.NDArray[np.float32], work: Path, minutes: float
) -> PocketClassifier:
    some = slice(0, len(latents), 4)
    decoded = kept_array(work / "decoded.npy", lambda: decode(vae, torch.from_numpy(latents[some])))
    return train_classifier(
        canvas.pictures[some],
        decoded,
        canvas.styles[some],
        canvas.objects[some],
        NAMES,
        work,
        minutes,
    )


@torch.no_grad()
def _features(classifier: PocketClassifier, pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
    batches = (pictures[i : i + 64] for i in range(0, len(pictures), 64))
    return torch.cat([classifier.features(to_tensor(batch)) for batch in batches])


def _text_encoder(
    canvas: Canvas,
    classifier: PocketClassifier,
    tokenizer: CLIPTokenizer,
    work: Path,
    minutes: float,
) -> CLIPTextModel:
    some = slice(0, len(canvas.pictures), 8)
    features = _features(classifier, canvas.pictures[some])
    return train_text_encoder(
        features, canvas.styles[some], canvas.objects[some], NAMES, tokenizer, work, minutes
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
