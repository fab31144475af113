"""A small vision transformer as timm's files hold it, and its equations computed by hand."""

from pathlib import Path

import torch
import torch.nn.functional as F

WIDTH, DEPTH, HIDDEN, PATCH, SIDE = 128, 2, 96, 16, 32
HEADS = WIDTH // 64  # timm's: every head has 64 channels

Weights = dict[str, torch.Tensor]


def random_weights(classes: int, seed: int = 0) -> Weights:
    """Random weights under timm's names, large enough to tell pictures apart."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random) * 0.2

    weights = {
        "cls_token": draw(1, 1, WIDTH),
        "pos_embed": draw(1, 1 + (SIDE // PATCH) ** 2, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": draw(WIDTH),
        "norm.weight": draw(WIDTH) + 1,
        "norm.bias": draw(WIDTH),
        "head.weight": draw(classes, WIDTH),
        "head.bias": draw(classes),
    }
    layers = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH),
              "mlp.fc1": (HIDDEN, WIDTH), "mlp.fc2": (WIDTH, HIDDEN)}  # fmt: skip
    for block in range(DEPTH):
        for norm in ("norm1", "norm2"):
            weights[f"blocks.{block}.{norm}.weight"] = draw(WIDTH) + 1
            weights[f"blocks.{block}.{norm}.bias"] = draw(WIDTH)
        for layer, (after, before) in layers.items():
            weights[f"blocks.{block}.{layer}.weight"] = draw(after, before)
            weights[f"blocks.{block}.{layer}.bias"] = draw(after)
    return weights


def write_judges(root: Path) -> Path:
    """Both files of the benchmark in a workspace; gives their folder."""
    folder = root / "models" / "classifiers"
    folder.mkdir(parents=True)
    torch.save({"model_state_dict": random_weights(51), "epoch": 3}, folder / "style50.pth")
    torch.save({"model_state_dict": random_weights(20, 1)}, folder / "style50_cls.pth")
    return folder


def logits_by_hand(weights: Weights, pictures: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, 32, 32) to logits (B, classes), a picture and a head at a time."""
    return torch.stack([_of_one(weights, picture) for picture in pictures])


def _of_one(w: Weights, picture: torch.Tensor) -> torch.Tensor:
    patches = [
        w["patch_embed.proj.weight"].flatten(1) @ picture[:, y : y + PATCH, x : x + PATCH].flatten()
        + w["patch_embed.proj.bias"]
        for y in range(0, SIDE, PATCH)
        for x in range(0, SIDE, PATCH)
    ]
    tokens = torch.stack([w["cls_token"][0, 0], *patches]) + w["pos_embed"][0]  # (5, 128)
    for block in range(DEPTH):
        part = {key.removeprefix(f"blocks.{block}."): value for key, value in w.items()}
        tokens = tokens + _attention(part, _norm(part, "norm1", tokens))
        hidden = _linear(part, "mlp.fc1", _norm(part, "norm2", tokens))
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2  # GELU, exact
        tokens = tokens + _linear(part, "mlp.fc2", hidden)
    return _linear(w, "head", _norm(w, "norm", tokens)[0])


def _attention(w: Weights, tokens: torch.Tensor) -> torch.Tensor:
    q, k, v = _linear(w, "attn.qkv", tokens).split(WIDTH, dim=1)  # (5, 128) each
    heads = []
    for first in range(0, WIDTH, WIDTH // HEADS):
        of_head = slice(first, first + WIDTH // HEADS)
        scores = q[:, of_head] @ k[:, of_head].T / (WIDTH // HEADS) ** 0.5  # (5, 5)
        heads.append(F.softmax(scores, dim=1) @ v[:, of_head])
    return _linear(w, "attn.proj", torch.cat(heads, dim=1))


def _linear(w: Weights, name: str, values: torch.Tensor) -> torch.Tensor:
    return values @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(w: Weights, name: str, values: torch.Tensor) -> torch.Tensor:
    centred = values - values.mean(1, keepdim=True)
    scale = (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]
