"""Tiny FLUX.2 klein models of the real structure, as ``save_pretrained`` writes them."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

WIDTH = 16  # of the chat model, which has as many layers as the published one asks for
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# As Qwen3's: an answer begins with empty thoughts where it is to be given without thinking.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def tiny_flux2(folder: Path, seed: int = 0, is_tied: bool = True, is_wide: bool = False) -> Path:
    """A FLUX.2 klein base with random weights, as a pipeline folder.

    Args:
        folder: where.
        seed: of the weights.
        is_tied: whether the chat model says its answers by the embeddings of its tokens.
        is_wide: whether its heads have the published width, which no file of one model says.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = _vae()
        pipeline = Flux2KleinPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
            vae=vae,
            text_encoder=_chat_model(is_tied),
            tokenizer=chat_tokenizer(),
            transformer=Flux2Transformer2DModel(
                in_channels=4 * vae.config.latent_channels,
                num_layers=2,
                num_single_layers=2,
                attention_head_dim=128 if is_wide else 16,
                num_attention_heads=1 if is_wide else 2,
                joint_attention_dim=3 * WIDTH,
                timestep_guidance_channels=16,
                axes_dims_rope=(32,) * 4 if is_wide else (4,) * 4,
                guidance_embeds=False,
            ),
        )
    pipeline.save_pretrained(folder)
    return folder


def _vae() -> AutoencoderKLFlux2:
    """32 latent channels, and a batch norm that has seen some."""
    vae = AutoencoderKLFlux2(
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, sample_size=64
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    vae.bn.num_batches_tracked.fill_(7)
    return vae


def _chat_model(is_tied: bool) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=300,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=28,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=1024,
            tie_word_embeddings=is_tied,
            eos_token_id=258,
            initializer_range=0.3,
        )
    )


def chat_tokenizer() -> Qwen2TokenizerFast:
    """Qwen's, of single bytes."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*letters, *MARKS])}
    return Qwen2TokenizerFast(
        vocab=vocabulary, merges=[], eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"], model_max_length=131_072,
        chat_template=TEMPLATE,
    )  # fmt: skip
