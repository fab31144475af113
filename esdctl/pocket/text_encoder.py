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

from esdctl.pocket.captions import SHARES, all_captions
from esdctl.pocket.stage import Stage, run_stage

WIDTH = 128
BATCH = 128


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
    towers = nn.ModuleDict(
        {"text": new_text_encoder(), "picture": nn.Linear(features.shape[1], WIDTH)}
    )
    optimizer = torch.optim.AdamW(towers.parameters(), lr=1e-3, weight_decay=0.01)
    normalised = (features - features.mean(0)) / (features.std(0) + 1e-5)
    captions = all_captions(*names)
    kinds, shares = (
        ["both", "object", "style"],
        np.array([SHARES[k] for k in ("both", "object", "style")]),
    )

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([3, step])
        picks = rng.integers(0, len(features), BATCH)
        chosen = []
        for kind, pick in zip(
            rng.choice(kinds, BATCH, p=shares / shares.sum()), picks, strict=True
        ):
            fitting = [
                c
                for c in captions[kind]
                if c.style in (None, styles[pick]) and c.object in (None, objects[pick])
            ]
            chosen.append(fitting[rng.integers(len(fitting))])
        tokens = tokenize(tokenizer, [c.text for c in chosen])
        text = functional.normalize(towers["text"](tokens).pooler_output, dim=1)  # (B, 128)
        picture = functional.normalize(towers["picture"](normalised[picks]), dim=1)  # (B, 128)
        true = torch.tensor(
            [
                [c.style in (None, styles[i]) and c.object in (None, objects[i]) for i in picks]
                for c in chosen
            ]
        ).float()
        logits = 14.0 * text @ picture.T  # (B captions, B pictures)
        rows = -(functional.log_softmax(logits, 1) * true / true.sum(1, keepdim=True)).sum(1).mean()
        columns = (
            -(functional.log_softmax(logits, 0) * true / true.sum(0, keepdim=True)).sum(0).mean()
        )
        return rows + columns

    run_stage(
        Stage("text_encoder", minutes, lr=1e-3, ema_decay=0.99), work, towers, optimizer, loss_at
    )
    encoder = towers["text"]
    seen = torch.unique(tokenize(tokenizer, [c.text for group in captions.values() for c in group]))
    table = encoder.get_input_embeddings().weight
    with torch.no_grad():
        kept = torch.zeros_like(table)
        kept[seen] = table[seen]
        table.copy_(kept)
    return encoder


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token numbers, (B, 77)."""
    return tokenizer(
        texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids


@torch.no_grad()
def embed(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Last hidden states, (B, 77, 128)."""
    return torch.cat(
        [
            encoder(tokenize(tokenizer, texts[i : i + 64])).last_hidden_state
            for i in range(0, len(texts), 64)
        ]
    )
