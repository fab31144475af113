"""UnlearnCanvas's judge: read without trust, computed as timm does, and put to work by commands."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from esdctl.cli.app import run
from esdctl.datasets.unlearn_canvas import OBJECTS, STYLES
from esdctl.errors import IntegrityError
from esdctl.evaluation.judges.style50 import load_transformer, open_style50
from esdctl.progress import Silent
from tests.evaluation.judges.timm_vit import SIDE, logits_by_hand, random_weights, write_judges

Captured = pytest.CaptureFixture[str]
CPU = torch.device("cpu")
DRY = ("--dry-run", "--no-estimate", "--json")


class Payload:
    """Unpickled, it would run a command."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch canary",)


def evaluate(model: Path | str, root: Path, *more: str) -> int:
    return run(["evaluate", "--model", str(model), "--root", str(root), "--json", *more])


def test_logits_are_those_of_timms_equations(tmp_path: Path) -> None:
    folder = write_judges(tmp_path)
    pictures = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    exactly = pictures.double()
    with torch.inference_mode():
        found = load_transformer(folder / "style50.pth", 51, CPU, Silent()).double()(exactly)
    expected = logits_by_hand({n: w.double() for n, w in random_weights(51).items()}, exactly)
    assert expected.std() > 0.1
    assert torch.allclose(found, expected, atol=1e-9, rtol=0)


def test_pictures_are_squeezed_to_the_transformers_size_without_a_crop(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 96, 64, 3), dtype=np.uint8)
    judge = open_style50(write_judges(tmp_path))
    assert judge is not None
    verdicts = judge.load(CPU, Silent())(pictures)
    sized = [Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for p in pictures]
    inputs = (
        torch.from_numpy(np.stack([np.asarray(picture) for picture in sized])).permute(0, 3, 1, 2)
        / 255
    )
    inputs = (inputs - 0.5) / 0.5
    styles = logits_by_hand(random_weights(51), inputs).softmax(1)
    objects = logits_by_hand(random_weights(20, 1), inputs).softmax(1)
    assert [v.style for v in verdicts] == [STYLES[i] for i in styles.argmax(1)]
    assert [v.object for v in verdicts] == [OBJECTS[i] for i in objects.argmax(1)]
    assert [v.p_style for v in verdicts] == pytest.approx(styles.amax(1).tolist(), abs=1e-4)
    assert list(STYLES) == sorted(STYLES)  # the benchmark's labels are in alphabetical order
    assert list(OBJECTS) == sorted(OBJECTS)


def test_half_precision_and_safetensors_are_read_too(tmp_path: Path) -> None:
    folder = write_judges(tmp_path)
    (folder / "style50.pth").unlink()
    halves = {name: value.half() for name, value in random_weights(51).items()}
    save_file(halves, folder / "style50.safetensors")
    judge = open_style50(folder)
    assert judge is not None
    assert judge.style_file.suffix == ".safetensors"
    assert len(judge.load(CPU, Silent())(np.zeros((2, 64, 64, 3), np.uint8))) == 2


def test_a_model_without_a_classifier_is_judged_by_style50(
    tiny_model: Path, tmp_path: Path, capsys: Captured
) -> None:
    write_judges(tmp_path)
    few = ("--steps", "2", "--styles", "Mosaic,Seed Images", "--objects", "Dogs,Cats")
    assert evaluate(tiny_model, tmp_path, *few, "--concept", "Mosaic") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["judge"], report["count"]) == ("style50", 4)
    assert (report["sampling"]["guidance"], report["sampling"]["image_size"]) == (9.0, 64)
    assert report["unlearning"]["Mosaic"]["ua"]["n"] == 2
    assert "judged by style50" in err
    assert evaluate(tiny_model, tmp_path, *few) == 0
    assert "4 of 4 pictures were judged before" in capsys.readouterr().err


def test_the_benchmarks_protocol_is_style50s_default(
    tiny_model: Path, tmp_path: Path, capsys: Captured
) -> None:
    write_judges(tmp_path)
    assert evaluate(tiny_model, tmp_path, *DRY) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["judges"] == ["style50"]
    assert (plan["settings"]["steps"], plan["settings"]["guidance"]) == (100, 9.0)
    assert (plan["seeds"], plan["pictures_a_model"]) == ([188], 1020)


def test_a_dry_run_counts_the_time_of_the_verdicts(
    tiny_model: Path, tmp_path: Path, capsys: Captured
) -> None:
    write_judges(tmp_path)
    few = ("--steps", "2", "--styles", "Mosaic", "--objects", "Dogs", "--device", "cpu")
    assert evaluate(tiny_model, tmp_path, "--dry-run", "--json", *few) == 0
    estimate = json.loads(capsys.readouterr().out)["estimate"]
    assert estimate["parts"]["judging"] > 0
    assert estimate["seconds"] == pytest.approx(sum(estimate["parts"].values()), abs=0.01)


def test_a_model_is_judged_by_its_own_classifier_unless_another_is_named(
    tmp_path: Path, capsys: Captured
) -> None:
    write_judges(tmp_path)
    found = {}
    for flags in ((), ("--classifier", "pocket"), ("--classifier", "style50")):
        assert evaluate("pocket", tmp_path, *DRY, *flags) == 0
        plan = json.loads(capsys.readouterr().out)
        found[flags] = (plan["judges"], plan["settings"]["steps"], plan["pictures_a_model"])
    assert list(found.values()) == [
        (["pocket"], 25, 260),
        (["pocket"], 25, 260),
        (["style50"], 100, 1020),
    ]


def test_training_ends_where_style50_no_longer_sees_the_concept(
    tiny_model: Path, tmp_path: Path, capsys: Captured
) -> None:
    write_judges(tmp_path)
    command = [
        "train", "--model", str(tiny_model), "--concept", "Mosaic", "--preset", "reference",
        "--ddim-steps", "2", "--iterations", "3", "--lr", "1e-3", "--device", "cpu", "--json",
        "--until", "UA>=1", "--probe-every", "1", "--root", str(tmp_path),
        "--no-contact-sheet",
    ]  # fmt: skip
    assert run(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["iterations"] == 1
    rows = [
        json.loads(line)
        for line in (Path(result["run"]) / "log.jsonl").read_text().split("\n")
        if line
    ]
    (probe,) = (row for row in rows if "probe" in row)
    assert (probe["step"], probe["pictures"], probe["is_reached"]) == (1, 20, True)


def _without_object_file(folder: Path) -> None:
    (folder / "style50_cls.pth").unlink()


def _without_folder(folder: Path) -> None:
    _without_object_file(folder)
    (folder / "style50.pth").unlink()
    folder.rmdir()


def _saved(content: object) -> Callable[[Path], None]:
    return lambda folder: torch.save(content, folder / "style50.pth")


def _with(**changes: torch.Tensor | None) -> Callable[[Path], None]:
    """Weights with some changed or, where None, missing; ``__`` stands for a dot."""
    weights = random_weights(51)
    for key, value in changes.items():
        weights.pop(key.replace("__", "."), None)
        if value is not None:
            weights[key.replace("__", ".")] = value
    return _saved({"model_state_dict": weights})


def _cut_off(folder: Path) -> None:
    path = folder / "style50.pth"
    path.write_bytes(path.read_bytes()[:-2000])


def _swapped(folder: Path) -> None:
    (folder / "style50_cls.pth").replace(folder / "style50.pth")
    torch.save({"model_state_dict": random_weights(51)}, folder / "style50_cls.pth")


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (_without_folder, 3, "has no classifier of its own"),
        (_without_folder, 3, "put UnlearnCanvas's style50.pth (51 styles) and style50_cls.pth"),
        (_without_object_file, 3, "style50_cls.pth missing in"),
        (_saved({"weights": "elsewhere"}), 3, "it holds no weights"),
        (_with(norm__bias=None), 3, "missing norm.bias"),
        (_with(blocks__0__mlp__fc1__weight=None), 3, "it has no blocks.0.mlp.fc1.weight"),
        (_with(fc_norm__bias=torch.zeros(3)), 3, "unexpected fc_norm.bias"),
        (_with(norm__bias=torch.zeros(3)), 3, "misshapen norm.bias (3 of F32, not 128)"),
        (_with(norm__bias=torch.zeros(128, dtype=torch.int64)), 3, "misshapen norm.bias"),
        (_with(blocks__7__norm1__bias=torch.zeros(128)), 3, "unexpected blocks.7.norm1.bias"),
        (_with(pos_embed=torch.zeros(1, 4, 128)), 3, "3 patches of 16 pixels"),
        (_with(head__weight=torch.zeros(10, 128)), 3, "tells 10 classes apart, not 51"),
        (_swapped, 3, "tells 20 classes apart, not 51"),
        (_saved({"model_state_dict": random_weights(51), "x": Payload()}), 5, "would run code"),
        (_cut_off, 5, "style50.pth"),
    ],
)  # fmt: skip
def test_what_is_no_such_judge_has_one_clear_error(
    spoil: Callable[[Path], None], status: int, words: str,
    tiny_model: Path, tmp_path: Path, capsys: Captured,
) -> None:  # fmt: skip
    spoil(write_judges(tmp_path))
    assert evaluate(tiny_model, tmp_path, *DRY) == status
    err = capsys.readouterr().err
    assert words in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize("spoil", [b"\0\0\0\x80\0\0\xc0\x7f", b"\xaa" * 8], ids=["nan", "flipped"])
def test_damaged_weights_are_found_when_they_are_read(spoil: bytes, tmp_path: Path) -> None:
    path = write_judges(tmp_path) / "style50.pth"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4 * 4
    content[middle : middle + 8] = spoil
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"style50\.pth"):
        load_transformer(path, 51, CPU, Silent())


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (("--classifier", "clip"), 2, "use one of pocket, style50"),
        (("--classifier", "pocket"), 3, "has no classifier of its own"),
        (("--concept", "Nonsense"), 2, "knows no concept"),
    ],
)
def test_a_classifier_or_concept_that_does_not_suit_is_refused(
    flags: tuple[str, ...], status: int, words: str,
    tiny_model: Path, tmp_path: Path, capsys: Captured,
) -> None:  # fmt: skip
    write_judges(tmp_path)
    assert evaluate(tiny_model, tmp_path, *DRY, *flags) == status
    assert words in capsys.readouterr().err


def test_inspect_says_what_the_files_are(tmp_path: Path, capsys: Captured) -> None:
    folder = write_judges(tmp_path)
    assert run(["inspect", str(folder / "style50.pth")]) == 0
    assert "kind: vision transformer that tells 51 classes" in capsys.readouterr().out
