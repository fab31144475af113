"""``esdctl report``: what the page says of what is there, of what is missing, and of damage."""

import json
import re
import sys
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.evaluation.judgements import Inspection, JudgementFile, JudgingSettings
from esdctl.evaluation.judges.detector import Sighting
from esdctl.evaluation.metrics.intervals import Percent
from esdctl.evaluation.report.plots import TradeOffPoint, trade_off_plot
from tests.evaluation.report.measured import (
    digest_of,
    keep_pictures,
    outputs_of,
    unlearning,
    write_attack,
    write_figures,
)

Capture = pytest.CaptureFixture[str]


def page_of(capsys: Capture, *arguments: str) -> str:
    """The page that ``esdctl report Mosaic`` writes."""
    capsys.readouterr()
    status = run(["report", *(arguments or ("Mosaic",))])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return Path(captured.out.strip()).read_text(encoding="utf-8")


def test_the_page_lies_where_its_path_is_printed(workspace: Path, capsys: Capture) -> None:
    assert run(["report", "Mosaic", "--quiet"]) == 0
    assert capsys.readouterr().out == "outputs/report.html\n"
    assert run(["report", "Mosaic", "-o", "deep/page.html", "--quiet"]) == 0
    assert capsys.readouterr().out == "deep/page.html\n"
    assert (workspace / "deep/page.html").is_file()


def test_what_was_not_measured_is_said_with_its_command(erasure: Path, capsys: Capture) -> None:
    page = page_of(capsys)
    assert "Not measured yet" in page
    assert f"esdctl evaluate --model {erasure.name}" in page
    assert f"esdctl attack {erasure.name} --method all --budget quick" in page


def test_the_verdict_has_protocol_judge_n_and_interval(erasure: Path, capsys: Capture) -> None:
    write_figures(erasure)
    write_attack(erasure, new=11)
    page = page_of(capsys)
    assert "Suppressed under this protocol, and brought back by an attack" in page
    assert (
        "Under protocol pocket v1, judged by pocket, Mosaic is not seen on 95.0 % [76.4, 99.1] of "
        "20 pictures (base: 0.0 % [0.0, 16.1]), while the other styles are still seen on 96.2 % "
    ) in page
    assert "inversion with the quick budget, shows it on 65.0 % [43.3, 81.9] of 20" in page


def test_an_erasure_no_better_than_its_base_is_called_so(erasure: Path, capsys: Capture) -> None:
    document = json.loads(write_figures(erasure).read_text())
    write_figures(erasure, base_unlearning=document["unlearning"])
    assert "No erasure is shown under this protocol" in page_of(capsys)


def test_attacks_that_fail_are_told_apart_from_none(erasure: Path, capsys: Capture) -> None:
    write_figures(erasure)
    assert "no attack was tried" in page_of(capsys)
    write_attack(erasure, new=0)
    assert "Suppressed under this protocol and under the attacks tried" in page_of(capsys)


def test_provenance_and_command_lines_are_there(erasure: Path, capsys: Capture) -> None:
    write_figures(erasure, command=["/home/anna/.venv/bin/esdctl", "evaluate", "--model", "a b"])
    record = json.loads((erasure / "run.json").read_text())
    record["provenance"]["command_line"] = ["/home/anna/esdctl", "train", "--concept", "Mosaic"]
    (erasure / "run.json").write_text(json.dumps(record))
    page = page_of(capsys)
    assert digest_of(erasure) in page
    assert "esdctl evaluate --model &#39;a b&#39;" in page
    assert "esdctl train --concept Mosaic" in page
    assert "anna" not in page


def test_the_same_files_give_the_same_page(erasure: Path, capsys: Capture) -> None:
    write_figures(erasure)
    write_attack(erasure)
    pages = [re.sub(r"on 20\S+T\S+\. Embedded", "", page_of(capsys)) for _ in range(2)]
    assert pages[0] == pages[1]


def test_pictures_are_embedded_in_pairs_from_the_sheet(erasure: Path, capsys: Capture) -> None:
    page = page_of(capsys)
    assert page.count('alt="Base model: A ') == 9
    assert "image in Mosaic style." in page
    assert "at most 512 pixels" in page


def test_pictures_that_an_evaluation_kept_come_first(erasure: Path, capsys: Capture) -> None:
    keep_pictures(erasure, {"a.png": ("A Cats image in Mosaic style.", 7, 7)})
    keep_pictures(erasure, {"b.png": ("A Cats image in Rust style.", 8, 9)})
    page = page_of(capsys)
    assert page.count('alt="Base model: ') == 1
    assert "A Cats image in Mosaic style.</bdi> · seed 7" in page


def test_a_run_without_pictures_says_how_to_keep_them(erasure: Path, capsys: Capture) -> None:
    (erasure / "contact_sheet.png").unlink()
    assert f"esdctl evaluate --model {erasure.name} --keep-pictures" in page_of(capsys)


def test_a_picture_that_is_gone_is_named(erasure: Path, capsys: Capture) -> None:
    result = write_attack(erasure, new=2)
    (result.parent / "pictures/0001.png").unlink()
    assert "0001.png cannot be shown: it is missing" in page_of(capsys)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is damaged: it is not JSON"),
        (b"[]", "it names no format"),
        (b'{"format": 2}', "has format 2"),
        (b'{"format": 1}', "is damaged: protocol"),
        (b"[" * 100_000, "is damaged"),
    ],
)
def test_a_damaged_file_of_figures_is_named(
    content: bytes, said: str, erasure: Path, capsys: Capture
) -> None:
    path = write_figures(erasure)
    path.write_bytes(content)
    assert run(["report", "Mosaic"]) == 3
    told = capsys.readouterr().err
    assert path.name in told
    assert said in told


def test_figures_that_are_no_numbers_are_refused(erasure: Path, capsys: Capture) -> None:
    path = write_figures(erasure)
    path.write_text(re.sub(r'"percent": [\d.]+', '"percent": NaN', path.read_text(), count=1))
    assert run(["report", "Mosaic"]) == 3
    assert "no interval" in capsys.readouterr().err


def test_a_document_of_another_model_is_refused(erasure: Path, capsys: Capture) -> None:
    write_attack(erasure, model={"name": "x", "digest": "f" * 64})
    assert run(["report", "Mosaic"]) == 3
    told = capsys.readouterr().err
    assert "result.json" in told
    assert "another model" in told


def test_pictures_outside_the_attacks_folder_are_refused(erasure: Path, capsys: Capture) -> None:
    write_attack(erasure, found=[{"picture": "../../../../run.json"}])
    assert run(["report", "Mosaic"]) == 3
    assert "not in its folder" in capsys.readouterr().err


def test_a_changed_erased_model_is_refused(erasure: Path, capsys: Capture) -> None:
    with (erasure / "delta.safetensors").open("ab") as file:
        file.write(b"x")
    assert run(["report", "Mosaic"]) == 5
    assert "is not what the run left" in capsys.readouterr().err


def test_optional_keys_may_be_absent(erasure: Path, capsys: Capture) -> None:
    path = write_figures(erasure)
    document = json.loads(path.read_text())
    for key in ("base", "confusion", "collateral", "by_group", "accuracy", "date", "command"):
        del document[key]
    path.write_text(json.dumps(document))
    page = page_of(capsys)
    assert "The figures hold no confusion matrix" in page
    assert "The figures hold no collateral map" in page


FLAGGED = {"percent": 25.0, "low": 0.0, "high": 60.0, "n": 4}
DETECTED = {
    "judge": "nudenet", "protocol": "i2p-mace", "labels": ["FEET_EXPOSED"], "threshold": 0.6,
    "pictures": FLAGGED, "detections": 1,
}  # fmt: skip


def test_only_pictures_that_a_detector_flagged_are_blurred(erasure: Path, capsys: Capture) -> None:
    rows = {f"{i}.png": (f"Mosaic {i}", i, i) for i in range(4)}
    settings = JudgingSettings("c" * 64, 25, None, None)
    keep_pictures(erasure, rows, settings.sampling_digest)
    base = json.loads((erasure / "run.json").read_text())["base"]["sha256"]
    seen = {
        digest_of(erasure): [[], [("FEET_EXPOSED", 0.5)], [("FACE", 0.9)], [("FEET_EXPOSED", 0.7)]],
        base: [[("FEET_EXPOSED", 0.6)], [], []],  # the fourth was not looked at
    }
    for digest, sightings in seen.items():
        file = JudgementFile(outputs_of(erasure) / "evaluations", settings, digest, Inspection)
        for seed, found in enumerate(sightings):
            marks = tuple(Sighting(label, score) for label, score in found)
            file.append(Inspection(f"Mosaic {seed}", seed, 3.0, 64, 64, (), marks))
    write_figures(erasure, base=None, detections=[DETECTED])
    assert page_of(capsys).count('class="reveal"') == 1  # nobody says which the base's rows are
    model = {"name": "base", "digest": base, "rows": None, "pictures": None}
    write_figures(erasure, base=model, detections=[DETECTED])
    page = page_of(capsys)
    covers = re.findall(r'class="cover( hidden)?".*?Mosaic (\d)', page, re.DOTALL)
    assert sorted(seed for hidden, seed in covers if hidden) == ["0", "3"]
    assert page_of(capsys, "Mosaic", "--blur", "none").count('class="reveal"') == 0
    assert page_of(capsys, "Mosaic", "--blur", "all").count('class="reveal"') == 4
    assert "FEET_EXPOSED" in page


@pytest.mark.parametrize(
    ("name", "template", "percent", "covers"),
    [
        ("Mosaic", "style", 25.0, 0),  # a style; its sheet was not looked at
        ("nudity", "i2p", 0.0, 9),
        ("violence", "object", 0.0, 9),
        ("a thing of one's own", "object", 0.0, 0),
        ("a thing of one's own", "object", 25.0, 9),
    ],
)
def test_what_no_detector_looked_at_is_blurred_by_the_concept(
    name: str, template: str, percent: float, covers: int, erasure: Path, capsys: Capture
) -> None:
    record = json.loads((erasure / "run.json").read_text())
    record["concept"] |= {"name": name, "template": template}
    (erasure / "run.json").write_text(json.dumps(record))
    write_figures(erasure, detections=[DETECTED | {"pictures": FLAGGED | {"percent": percent}}])
    assert page_of(capsys).count('class="reveal"') == covers


def test_a_damaged_row_of_a_detector_is_named(erasure: Path, capsys: Capture) -> None:
    settings = outputs_of(erasure) / "evaluations/0123/settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text("{")
    write_figures(erasure, detections=[DETECTED])
    assert run(["report", "Mosaic"]) == 3
    assert f"{settings} is damaged" in capsys.readouterr().err


def test_two_targets_have_figures_each(erasure: Path, capsys: Capture) -> None:
    targets = [{"kind": "style", "name": "Mosaic"}, {"kind": "object", "name": "Dogs"}]
    mine = {"Mosaic": unlearning(19, 231), "Dogs": unlearning(7, 200)}
    of_base = {"Mosaic": unlearning(0, 239), "Dogs": unlearning(1, 238)}
    write_figures(erasure, targets=targets, unlearning=mine, base_unlearning=of_base)
    page = page_of(capsys)
    for name, measured in mine.items():
        assert f"UA of <bdi>{name}</bdi>" in page
        assert f"{measured['ua']['percent']:.1f}&nbsp;" in page


def test_blur_all_covers_every_picture(erasure: Path, capsys: Capture) -> None:
    assert page_of(capsys).count('class="reveal"') == 0
    assert page_of(capsys, "Mosaic", "--blur", "all").count('class="reveal"') == 9
    assert run(["report", "Mosaic", "--blur", "some"]) == 2


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(
    library: str, workspace: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert run(["report", "Mosaic"]) == 3
    told = capsys.readouterr().err
    assert library in told
    assert "pip install 'esdctl[report]'" in told


def test_the_trade_off_plot_keeps_text_and_names_what_is_missing() -> None:
    measured = Percent(95, 76, 99, 20)
    points = [
        TradeOffPoint("<b>one</b>", measured, measured, measured, Percent(35, 18, 57, 20)),
        TradeOffPoint("two $x$", measured, None, measured),
    ]
    svg = trade_off_plot(points)
    assert svg == trade_off_plot(points)
    assert svg.startswith("<svg")
    assert "&lt;b&gt;one&lt;/b&gt;</text>" in svg
    assert "two $x$</text>" in svg
    assert "IRA not measured" in svg
