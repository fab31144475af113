"""What other programs call the settings of an erasure, for hints to those who write them here."""

_ELSEWHERE = {
    "concept": "erase_concept concept_name target_concept",
    "model": "base_model model_path model_name model_id pretrained_model_name_or_path checkpoint",
    "prompt": "prompts train_prompt",
    "retain": "preserve keep retain_concepts",
    "devices": "gpu gpus cuda device",
    "negative_guidance": "eta",
    "pairs": "samples num_samples train_pairs",
    "iterations": "steps num_steps train_steps max_train_steps",
    "lr": "learning_rate",
    "batch_size": "batchsize train_batch_size",
    "image_size": "resolution size",
    "seed": "random_seed",
    "ddim_steps": "num_inference_steps inference_steps sampling_steps",
    "start_guidance": "guidance_scale guidance cfg_scale",
    "model_config_path": "model_config original_config",
    "dtype": "mixed_precision precision torch_dtype",
    "quantize_frozen": "quantize quantization load_in_8bit load_in_4bit base_model_precision",
    "offload": "cpu_offload enable_model_cpu_offload group_offload block_swap blocks_to_swap",
    "compile": "torch_compile",
    "save_every": "checkpointing_steps save_steps",
    "tracker": "report_to logger",
}
# Their name -> ours.
NAMES_ELSEWHERE = {their: ours for ours, names in _ELSEWHERE.items() for their in names.split()}
