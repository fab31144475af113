"""Makes pocket-flow: ``python -m esdctl.pocket.make_flow --minutes 150``.

A second embedded model, with SD 3's structure: pocket's autoencoder, text encoder and judge, and a
transformer trained by flow matching (see ``transformer``). The training keeps a checkpoint in the
work folder and goes on from it after a kill. At the end the weights are written as diffusers'
StableDiffusion3Pipeline saves them, in fp16, and their quality on fresh seeds is printed and kept
in ``metrics.json``.

Needs the extra ``make`` (scipy), and the pocket model.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from esdctl.datasets.unlearn_canvas import evaluation_prompt
from esdctl.diffusion.ddim import scaled_linear
from esdctl.diffusion.flow import static_flow
from esdctl.diffusion.guidance import combine
from esdctl.diffusion.schedule import CLEAN, run
from esdctl.evaluation.judges.pocket import load_classifier
from esdctl.pocket.autoencoder import decode, encode, to_tensor
from esdctl.pocket.captions import all_captions
from esdctl.pocket.drawn import NAMES, PER_CELL, draw_canvas, kept_array
from esdctl.pocket.metrics import FRESH, accuracy
from esdctl.pocket.ship_flow import SHIFT, TOKENS, projecting, ship_flow
from esdctl.pocket.text_encoder import embed
from esdctl.pocket.transformer import Told, train_transformer

POCKET = Path(__file__).parent / "weights"
STEPS, GUIDANCE = 25, 3.0  # of the sampled figures, as of pocket's


def main() -> None:
    """Parse the command line, train, print the quality figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m esdctl.pocket.make_flow", description=__doc__)
    parser.add_argument("--minutes", type=float, default=150, help="training time")
    parser.add_argument("--work", type=Path, default=Path("outputs/pocket-flow"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "flow_weights")
    parser.add_argument("--per-cell", type=int, default=PER_CELL, help="pictures of each pair")
    arguments = parser.parse_args()
    make_flow(arguments.minutes, arguments.work, arguments.output, arguments.per_cell)
    metrics = measure_flow(arguments.output)
    (arguments.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


def make_flow(minutes: float, work: Path, output: Path, per_cell: int) -> None:
    """Train the transformer and write the whole model to ``output``.

    Args:
        minutes: training time.
        work: folder of pictures and checkpoints; keep it to resume.
        output: pipeline folder to write.
        per_cell: pictures of each style x object.
    """
    work.mkdir(parents=True, exist_ok=True)
    canvas = draw_canvas(work, per_cell)
    vae = AutoencoderKL.from_pretrained(POCKET / "vae").to(torch.float32)
    latents = kept_array(work / "latents.npy", lambda: encode(vae, canvas.pictures).numpy())
    transformer = train_transformer(
        torch.from_numpy(np.array(latents)) * vae.config.scaling_factor,
        canvas.styles,
        canvas.objects,
        all_captions(*NAMES),
        _told_by_kind(),
        UNet2DConditionModel.from_pretrained(POCKET / "unet").to(torch.float32),
        scaled_linear(),
        work,
        minutes,
    )
    ship_flow(output, transformer, POCKET)


def told_of(
    encoder: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, texts: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What SD 3's transformer is told where there is no T5: (B, 2 x tokens, 256) and (B, 256).

    Both text encoders are one here, so its hidden states lie beside themselves; the rows of T5 are
    zeros (Esser et al. 2024, section 5.3.3), as many as those of the text encoders: in diffusers
    ``max_sequence_length=32`` asks for that.
    """
    tokens = tokenizer(
        texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        made = encoder(tokens, output_hidden_states=True)
    hidden, pooled = made.hidden_states[-2], made.text_embeds
    clip = torch.cat([hidden, hidden], dim=-1)  # (B, tokens, 256)
    return torch.cat([clip, torch.zeros_like(clip)], dim=1), torch.cat([pooled, pooled], dim=-1)


@torch.inference_mode()
def measure_flow(weights: Path, cells: int | None = None) -> dict[str, object]:
    """Classify pictures sampled with the evaluation prompt, on fresh seeds.

    Args:
        weights: the pipeline folder, with ``classifier/``.
        cells: so many of the pairs of style and object alone; None for all.

    Returns:
        A JSON document: accuracies in percent by style and object, and the settings.
    """
    classifier = load_classifier(weights / "classifier" / "model.safetensors")
    vae = AutoencoderKL.from_pretrained(weights / "vae").to(torch.float32)
    transformer = SD3Transformer2DModel.from_pretrained(weights / "transformer").to(torch.float32)
    encoder = CLIPTextModelWithProjection.from_pretrained(
        weights / "text_encoder", dtype=torch.float32
    )
    tokenizer = CLIPTokenizer.from_pretrained(weights / "tokenizer")
    asked = [(s, o) for s in classifier.styles for o in classifier.objects][:cells]
    made = []
    for start in range(0, len(asked), 20):
        few = asked[start : start + 20]
        told = told_of(
            encoder, tokenizer, [*[""] * len(few), *[evaluation_prompt(*c) for c in few]]
        )

        def velocity(
            latents: torch.Tensor,
            timestep: float,
            told: tuple[torch.Tensor, torch.Tensor] = told,
        ) -> torch.Tensor:
            both = transformer(
                hidden_states=torch.cat([latents, latents]),
                encoder_hidden_states=told[0],
                pooled_projections=told[1],
                timestep=torch.full((2 * len(latents),), timestep),
                return_dict=False,
            )[0]
            v_0, v_c = both.chunk(2)
            return combine(v_0, v_c, GUIDANCE)

        noise = torch.stack(
            [
                torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(FRESH + start + i))
                for i in range(len(few))
            ]
        )
        schedule = static_flow(SHIFT)
        latents = run(schedule, velocity, noise, [*schedule.timesteps(STEPS), CLEAN])
        made.append(decode(vae, latents / vae.config.scaling_factor))
    pictures = to_tensor(np.concatenate(made))
    return {
        "sampled": {
            "steps": STEPS, "guidance_scale": GUIDANCE, **accuracy(classifier, pictures, asked)
        }
    }  # fmt: skip


def _told_by_kind() -> dict[str, Told]:
    plain = CLIPTextModel.from_pretrained(POCKET / "text_encoder", dtype=torch.float32)
    encoder = projecting(plain)
    tokenizer = CLIPTokenizer.from_pretrained(POCKET / "tokenizer")
    told = {}
    for kind, group in all_captions(*NAMES).items():
        texts = [caption.text for caption in group]
        parts = [told_of(encoder, tokenizer, texts[i : i + 64]) for i in range(0, len(texts), 64)]
        context, pooled = (torch.cat(side) for side in zip(*parts, strict=True))
        told[kind] = Told(context, pooled, embed(plain, tokenizer, texts))
    return told


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
