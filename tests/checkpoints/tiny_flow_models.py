"""Models of the real structures that flow matching trains, as ``save_pretrained`` writes them."""

import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from tests.checkpoints.tiny_models import VOCABULARY

SIDE = 8  # of the latents, so that pictures have 64 px
WORDS = ["<pad>", "</s>", "<unk>", "a", "dog", "cat", "style", "Rust", "in", "An", "image", "of"]


def tiny_sd3(
    folder: Path, has_t5: bool = True, dual: bool = False, seed: int = 0, channels_a_head: int = 8
) -> Path:
    """A Stable Diffusion 3 with random weights, as a pipeline folder.

    Args:
        folder: where.
        has_t5: whether it comes with its third text encoder.
        dual: whether its first block has SD 3.5 medium's second attention.
        seed: of the weights.
        channels_a_head: 64 in published models, which a file of one model does not say.
    """
    heads = max(1, 32 // channels_a_head)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = StableDiffusion3Pipeline(
            transformer=SD3Transformer2DModel(
                sample_size=SIDE,
                in_channels=16,
                out_channels=16,
                num_layers=2,
                attention_head_dim=channels_a_head,
                num_attention_heads=heads,
                joint_attention_dim=64,
                caption_projection_dim=heads * channels_a_head,
                pooled_projection_dim=64,
                pos_embed_max_size=16,
                dual_attention_layers=(0,) if dual else (),
                qk_norm="rms_norm" if dual else None,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=tiny_vae(),
            text_encoder=tiny_clip("quick_gelu"),
            tokenizer=clip_tokenizer("<|endoftext|>"),
            text_encoder_2=tiny_clip("gelu"),
            tokenizer_2=clip_tokenizer("!"),
            text_encoder_3=tiny_t5(64) if has_t5 else None,
            tokenizer_3=t5_tokenizer() if has_t5 else None,
        )
    pipeline.save_pretrained(folder)
    return folder


def tiny_vae() -> AutoencoderKL:
    """16 latent channels, shifted and scaled."""
    return AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        sample_size=SIDE * 8,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def tiny_clip(
    activation: str, is_projected: bool = True
) -> CLIPTextModel | CLIPTextModelWithProjection:
    """Of width 32, so that two side by side have SD 3's order of things."""
    kind = CLIPTextModelWithProjection if is_projected else CLIPTextModel
    return kind(
        CLIPTextConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            projection_dim=32,
            hidden_act=activation,
            vocab_size=49_408,
            bos_token_id=49_406,
            eos_token_id=49_407,
            pad_token_id=49_407,
            initializer_factor=20.0,
        )
    )


def tiny_t5(width: int) -> T5EncoderModel:
    """T5's encoder of one layer."""
    return T5EncoderModel(
        T5Config(
            d_model=width,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            vocab_size=128,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def clip_tokenizer(padding: str) -> CLIPTokenizer:
    """CLIP's, with the token that fills a prompt up."""
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(VOCABULARY, pad_token=padding)
    return tokenizer


def t5_tokenizer() -> T5TokenizerFast:
    """Of a few whole words, and letters for all others."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    known = [*WORDS, *(f"\u2581{word}" for word in WORDS[3:]), "\u2581", *letters]
    vocabulary = [(word, -float(len(known) - len(word))) for word in dict.fromkeys(known)]
    return T5TokenizerFast(vocab=vocabulary, extra_ids=0)


def copied(folder: Path, to: Path) -> Path:
    """A copy of a folder that is shared."""
    return Path(shutil.copytree(folder, to))
