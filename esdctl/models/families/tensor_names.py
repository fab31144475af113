"""The prefixes and marks of tensor names in the files of each program, all in one place."""

# A whole model in one file: CompVis' LDM (SD 1.x, 2.x) and Stability's SGM (SDXL).
LDM_UNET = "model.diffusion_model."
LDM_VAE = "first_stage_model."
LDM_TEXT = "cond_stage_model."
SGM_TEXT = "conditioner."
SGM_TEXT_1 = "conditioner.embedders.0."
SGM_TEXT_2 = "conditioner.embedders.1."

# A whole model whose denoiser is a transformer, in one file: Stability's and ComfyUI's names.
COMFY_VAE = "vae."
COMFY_CLIP_L = "text_encoders.clip_l."
COMFY_CLIP_G = "text_encoders.clip_g."
COMFY_T5 = "text_encoders.t5xxl."

# The last layer of Stability's and Black Forest Labs' transformers.
TRANSFORMER_END = "final_layer.linear.weight"

# The moving average (EMA) of the U-Net's weights, whose names have lost their dots.
LDM_EMA = "model_ema."
LDM_EMA_UNET = "model_ema.diffusion_model"

# The U-Net's blocks, below LDM_UNET; and the modules of a diffusers U-Net.
LDM_BLOCKS = ("input_blocks.", "middle_block.", "output_blocks.")
DIFFUSERS_UNET = (
    "down_blocks.", "mid_block.", "up_blocks.", "conv_in.", "conv_out.", "conv_norm_out.",
    "time_embedding.", "add_embedding.",
)  # fmt: skip

# The modules of a diffusers transformer of two streams.
DIFFUSERS_TRANSFORMER = (
    "transformer_blocks.", "single_transformer_blocks.", "context_embedder.", "time_text_embed.",
    "time_guidance_embed.", "x_embedder.", "pos_embed.", "norm_out.", "proj_out.",
    "double_stream_modulation", "single_stream_modulation",
)  # fmt: skip

# diffusers' LoRA files: modules of a transformer.
LORA_TRANSFORMER = "transformer."

# LoRA files of ComfyUI's users: modules of a transformer, under its authors' names.
AUTHORS_TRANSFORMER = "diffusion_model."

# kohya's LoRA files: modules of the denoiser.
LORA_UNET = "lora_unet_"

# Empty tensors by which models say how they were trained: what they predict; on which schedule.
V_PREDICTION_MARK = "v_pred"
ZERO_SNR_MARK = "ztsnr"
