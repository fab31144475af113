"""CLIP from a folder: the library's own cosines, read without trust."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from esdctl.errors import EsdctlError, InputError
from esdctl.evaluation.encoders.clip import ClipFolder, open_clip_folder
from esdctl.evaluation.encoders.encoder import encode_files
from esdctl.evaluation.metrics.fidelity import clip_score
from esdctl.models.named import POCKET
from esdctl.progress import Silent

CPU = torch.device("cpu")
SIDE = 32
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PICTURES = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
PROMPTS = ["A Dogs image in Mosaic style.", "a cat", "", "sea " * 90]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights and the tokenizer of pocket."""
    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    shutil.copytree(POCKET / "tokenizer", folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tower = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "initializer_range": 0.3,
    }  # fmt: skip
    text = tower | {
        "vocab_size": len(tokenizer), "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    vision = tower | {"image_size": SIDE, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    model.save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor", "crop_size": SIDE,
        "size": {"shortest_edge": SIDE}, "do_resize": True, "do_center_crop": True,
        "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, "resample": 3,
        "image_mean": MEAN, "image_std": DEVIATION,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def prepared(pictures: np.ndarray) -> torch.Tensor:
    """By hand, as OpenAI's CLIP prepares its pictures."""
    rows = []
    for picture in pictures:
        image = Image.fromarray(picture)
        shorter = min(image.size)
        width, height = (side * SIDE // shorter for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - SIDE) // 2, (height - SIDE) // 2
        rows.append(np.asarray(image.crop((left, top, left + SIDE, top + SIDE))))
    batch = np.stack(rows) / 255
    return torch.from_numpy((batch - MEAN) / DEVIATION).permute(0, 3, 1, 2).float()


def by_hand(folder: Path, prompts: list[str]) -> torch.Tensor:
    """Cosines of pictures and prompts from the library's own forward pass."""
    model = CLIPModel.from_pretrained(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    cosines = []
    for picture, prompt in zip(prepared(PICTURES), prompts, strict=True):
        tokens = tokenizer(prompt, truncation=True, max_length=77, return_tensors="pt")
        with torch.no_grad():
            found = model(pixel_values=picture[None], **tokens)
            cosines.append(found.logits_per_image[0, 0] / model.logit_scale.exp())
    return torch.stack(cosines)


def test_clip_score_is_that_of_the_librarys_own_forward_pass(folder: Path) -> None:
    encoder = open_clip_folder(folder.name, folder.parent)
    encode, encode_texts = encoder.load_both(CPU, Silent())
    expected = by_hand(folder, PROMPTS)
    figure = clip_score(encode(PICTURES), encode_texts(PROMPTS), encoder)
    assert figure.value == pytest.approx(float(expected.mean()), abs=1e-5)
    assert float(expected.std()) > 0.01
    assert figure.encoder == "CLIP tiny-clip (2 layers, patch 8), 12 features"
    assert (figure.size, figure.n) == ("32 x 32", 4)


def test_another_prompt_gives_another_score(folder: Path) -> None:
    encoder = open_clip_folder(str(folder), Path())
    encode, encode_texts = encoder.load_both(CPU, Silent())
    right = clip_score(encode(PICTURES), encode_texts(PROMPTS), encoder).value
    swapped = clip_score(encode(PICTURES), encode_texts(PROMPTS[::-1]), encoder).value
    assert abs(right - swapped) > 1e-3


def test_features_of_files_are_those_of_their_pictures(folder: Path, tmp_path: Path) -> None:
    pictures = [*PICTURES, np.zeros((20, 20, 3), np.uint8)]
    files = [tmp_path / f"{place}.png" for place in range(len(pictures))]
    for file, picture in zip(files, pictures, strict=True):
        Image.fromarray(picture).save(file)
    encoder = open_clip_folder(str(folder), Path())
    found = encode_files(encoder, files, CPU, Silent(), batch=3)
    encode = encoder.load(CPU, Silent())
    expected = torch.cat([encode(picture[None]) for picture in pictures])
    assert found.shape == (5, 12)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_pickle_of_weights_is_read_too_and_position_ids_are_left_aside(
    folder: Path, tmp_path: Path
) -> None:
    """As openai/clip-vit-base-patch32 lies on the hub."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    weights = load_file(old / "model.safetensors")
    (old / "model.safetensors").unlink()
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    torch.save(weights, old / "pytorch_model.bin")
    one, two = (open_clip_folder(str(each), Path()) for each in (folder, old))
    features = [each.load(CPU, Silent())(PICTURES) for each in (one, two)]
    assert torch.equal(features[0], features[1])


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _with_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"projection_dim": 9}))


def _cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without("config.json"), r"lacks config\.json"),
        (_without("preprocessor_config.json"), r"lacks preprocessor_config\.json"),
        (_without("model.safetensors"), r"lacks model\.safetensors"),
        (_with_another_size, "is no CLIP of"),
        (_cut_off, r"model\.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot read"),
    ],
)
def test_what_is_no_clip_has_one_clear_error(
    spoil: Callable[[Path], None], words: str, folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    spoil(broken)
    with pytest.raises(EsdctlError, match=words):
        open_clip_folder(str(broken), Path()).load(CPU, Silent())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder nowhere") as caught:
        open_clip_folder("nowhere", tmp_path)
    assert "esdctl download clip-vit-l-14" in caught.value.hint


def test_its_digest_is_of_all_that_its_features_depend_on(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    one, two = (ClipFolder(each, each / "model.safetensors") for each in (folder, copy))
    assert one.digest() == two.digest()
    processor = copy / "preprocessor_config.json"
    processor.write_text(processor.read_text().replace('"resample": 3', '"resample": 2'))
    assert one.digest() != two.digest()
