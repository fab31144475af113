"""The pocket text encoder: a two-layer CLIP text model, trained by contrast with pictures.

CLIP's recipe (Radford et al. 2021) in miniature: the picture tower is the pocket classifier's
trunk, frozen, with a linear projection. After this stage the encoder is frozen, as in Stable
Diffusion, so that all captions are embedded once for the U-Net's training.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from esdctl.pocket.captions import SHARES, Caption, all_captions
from esdctl.pocket.stage import Stage, run_stage

WIDTH = 128
BATCH = 128
SHARPNESS = 14.0  # the inverse temperature that CLIP starts from


def new_text_encoder() -> CLIPTextModel:
    """An untrained CLIPTextModel: 2 layers, width 128, 77 positions, CLIP's vocabulary."""
    config = CLIPTextConfig(
        vocab_size=49_408, hidden_size=WIDTH, intermediate_size=4 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=77,
        hidden_act="quick_gelu", bos_token_id=49_406, eos_token_id=49_407, pad_token_id=49_407,
    )  # fmt: skip
    return CLIPTextModel(config)


def train_text_encoder(
    features: torch.Tensor,
    styles: npt.NDArray[np.int64],
    objects: npt.NDArray[np.int64],
    names: tuple[list[str], list[str]],
    tokenizer: CLIPTokenizer,
    work: Path,
    minutes: float,
) -> CLIPTextModel:
    """Train with a contrastive loss in which every true (picture, caption) pair is positive.

    Args:
        features: the classifier trunk's features of drawn pictures, (N, F).
        styles, objects: class indices of the pictures, (N,).
        names: style and object names.
        tokenizer: CLIP's.
        work: folder of the checkpoint.
        minutes: time budget.

    Returns:
        The encoder; rows of its embedding table for words that no caption holds are zero, so that
        they cost nothing in a compressed wheel.
    """
    torch.manual_seed(3)
    encoder, projection = new_text_encoder(), nn.Linear(features.shape[1], WIDTH)
    towers = nn.ModuleDict({"text": encoder, "picture": projection})
    optimizer = torch.optim.AdamW(towers.parameters(), lr=1e-3, weight_decay=0.01)
    normalised = (features - features.mean(0)) / (features.std(0) + 1e-5)
    captions = all_captions(*names)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([3, step])
        picks = rng.integers(0, len(features), BATCH)
        chosen = _fitting_captions(rng, captions, styles[picks], objects[picks])
        tokens = tokenize(tokenizer, [caption.text for caption in chosen])
        text = functional.normalize(encoder(tokens).pooler_output, dim=1)  # (B, 128)
        picture = functional.normalize(projection(normalised[picks]), dim=1)  # (B, 128)
        return contrastive_loss(text, picture, _truth(chosen, styles[picks], objects[picks]))

    stage = Stage("text_encoder", minutes, lr=1e-3, ema_decay=0.99)
    run_stage(stage, work, towers, optimizer, loss_at)
    _forget_unseen_words(encoder, tokenizer, captions)
    return encoder


def contrastive_loss(
    text: torch.Tensor, picture: torch.Tensor, truth: torch.Tensor
) -> torch.Tensor:
    """CLIP's loss with several true pairs a row; the probability is shared among them.

    Args:
        text, picture: normalised, (B, D).
        truth: 1 where caption i describes picture j, (B, B).
    """
    logits = SHARPNESS * text @ picture.T  # (B captions, B pictures)
    loss = torch.zeros(())
    for axis in (0, 1):
        share = truth / truth.sum(axis, keepdim=True)
        loss = loss - (functional.log_softmax(logits, axis) * share).sum(axis).mean()
    return loss


def _fits(caption: Caption, style: int, name: int) -> bool:
    return caption.style in (None, style) and caption.object in (None, name)


def _fitting_captions(
    rng: np.random.Generator,
    captions: dict[str, list[Caption]],
    styles: npt.NDArray[np.int64],
    objects: npt.NDArray[np.int64],
) -> list[Caption]:
    """One caption for each picture, of a kind drawn by its share."""
    kinds = [kind for kind in SHARES if kind != "empty"]
    shares = np.array([SHARES[kind] for kind in kinds])
    chosen = []
    for kind, style, name in zip(
        rng.choice(kinds, len(styles), p=shares / shares.sum()), styles, objects, strict=True
    ):
        fitting = [caption for caption in captions[kind] if _fits(caption, style, name)]
        chosen.append(fitting[rng.integers(len(fitting))])
    return chosen


def _truth(
    chosen: list[Caption], styles: npt.NDArray[np.int64], objects: npt.NDArray[np.int64]
) -> torch.Tensor:
    """1 where a caption describes a picture, (captions, pictures)."""
    rows = [
        [_fits(caption, style, name) for style, name in zip(styles, objects, strict=True)]
        for caption in chosen
    ]
    return torch.tensor(rows).float()


@torch.no_grad()
def _forget_unseen_words(
    encoder: CLIPTextModel, tokenizer: CLIPTokenizer, captions: dict[str, list[Caption]]
) -> None:
    """Set the rows of words that no caption holds to zero."""
    texts = [caption.text for group in captions.values() for caption in group]
    seen = torch.unique(tokenize(tokenizer, texts))
    table: torch.Tensor = encoder.get_parameter("embeddings.token_embedding.weight")
    kept = torch.zeros_like(table)
    kept[seen] = table[seen]
    table.copy_(kept)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token numbers, (B, 77)."""
    tokens: torch.Tensor = tokenizer(
        texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    return tokens


@torch.no_grad()
def embed(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Last hidden states, (B, 77, 128)."""
    return torch.cat(
        [
            encoder(tokenize(tokenizer, texts[i : i + 64])).last_hidden_state
            for i in range(0, len(texts), 64)
        ]
    )
