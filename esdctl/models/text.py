"""Prompts to embeddings, through the model's own tokenizer and text encoder."""

from collections.abc import Sequence

import ftfy
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.models.stable_diffusion import StableDiffusion


@torch.no_grad()
def encode_prompts(model: StableDiffusion, prompts: Sequence[str]) -> Conditioning:
    """The text encoder's last hidden state, cut or padded to 77 tokens.

    Prompts are cleaned with ftfy first, as CLIP's original tokenizer does; transformers' does not,
    which changes one I2P prompt in fifty.

    Args:
        model: gives tokenizer, text encoder and device.
        prompts: B texts; "" is the unconditional one.

    Returns:
        B rows, float32.
    """
    tokens = model.tokenizer(
        [ftfy.fix_text(prompt) for prompt in prompts],
        padding="max_length",
        max_length=model.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids.to(model.device)  # (B, 77)
    embeddings: torch.Tensor = model.text_encoder(tokens).last_hidden_state
    return Conditioning(embeddings)
