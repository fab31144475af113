"""``esdctl sweep plan``: a job for each concept and combination, in a file that never changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from esdctl.cli.app import run

FOLDER = Path(__file__).parent
DRY = ["--protocol", str(FOLDER / "four_pictures.yaml"), "--dry-run", "--json"]
PLAN = ["sweep", "plan", "--model", "pocket", "--quiet"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def jobs_of(path: str = "sweep.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_every_concept_is_erased_with_every_combination() -> None:
    grid = ["--grid", "lr=1e-3,2e-3", "--grid", "seed=1,2,3"]
    assert run([*PLAN, "--concept", "Mosaic", "--concept", "Dogs", *grid]) == 0
    jobs = jobs_of()
    assert len({job["job"] for job in jobs}) == len(jobs) == 2 * 2 * 3
    cells = [(job["concept"], job["cell"]) for job in jobs]
    assert cells[0] == ("Mosaic", {"lr": 0.001, "seed": 1})
    assert cells[-1] == ("Dogs", {"lr": 0.002, "seed": 3})


def test_all_names_of_the_model_are_planned() -> None:
    assert run([*PLAN, "--all-styles", "--all-objects"]) == 0
    kinds = [job["kind"] for job in jobs_of()]
    assert (kinds.count("style"), kinds.count("object")) == (13, 20)


def test_a_file_of_concepts_names_one_a_line() -> None:
    Path("names.txt").write_text("# erased by request\nMosaic\n\nVan Gogh\nMosaic\n")
    assert run([*PLAN, "--concepts", "names.txt"]) == 0
    assert [job["concept"] for job in jobs_of()] == ["Mosaic", "Van_Gogh"]


def test_a_csv_of_concepts_gives_each_what_is_its_own() -> None:
    Path("names.csv").write_text(
        'name,template,prompt\nMosaic,,\nSunflowers,object,"A vase, with sunflowers"\n'
    )
    assert run([*PLAN, "--concepts", "names.csv"]) == 0
    known, own = jobs_of()
    assert (known["concept"], known["kind"]) == ("Mosaic", "style")
    assert (own["concept"], own["kind"]) == ("Sunflowers", "object")
    assert "prompt" not in known["settings"]
    assert own["settings"]["prompt"] == ["A vase, with sunflowers"]


def test_a_csv_with_an_unknown_column_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("names.csv").write_text("name,promt\nMosaic,x\n")
    assert run([*PLAN, "--concepts", "names.csv"]) == 3
    assert "unknown column 'promt'" in capsys.readouterr().err


def test_the_same_plan_is_the_same_file_and_another_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*PLAN, "--concept", "Mosaic"]) == 0
    before = Path("sweep.jsonl").read_bytes()
    assert run([*PLAN, "--concept", "Mosaic"]) == 0
    assert run([*PLAN, "--concept", "Dogs"]) == 2
    assert "a manifest is never changed" in capsys.readouterr().err
    assert Path("sweep.jsonl").read_bytes() == before


def test_a_line_that_was_edited_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PLAN, "--concept", "Mosaic", "--set", "seed=1"]) == 0
    file = Path("sweep.jsonl")
    file.write_text(file.read_text().replace('"seed": 1', '"seed": 2'))
    assert run(["sweep", "status", "sweep.jsonl"]) == 3
    assert "line 1: the job" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{}\n", "[1]\n", "not JSON\n", '{"job": "x"}\n'])
def test_what_is_no_manifest_is_refused(content: str) -> None:
    Path("sweep.jsonl").write_text(content)
    assert run(["sweep", "run", "sweep.jsonl"]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to erase"),
        (["--concept", "Mosaic", "--grid", "lr"], "write --grid lr=1e-5"),
        (["--concept", "Mosaic", "--grid", "lr=1,1"], "names a value twice"),
        (["--concept", "Mosaic", "--grid", "lr=x"], "lr"),
        (["--concept", "Mosaic", "--grid", "leraning_rate=1"], "no setting"),
        (["--concept", "Mosaic", "--set", "concept=Dogs"], "use --concept"),
        (["--concept", "Mosaic", "--set", "devices=cpu"], "changes no result"),
        (["--concept", "Mosaic", "--set", "seed=1", "--grid", "seed=1"], "keep one"),
        (["--concept", "Mozaic"], "Mosaic"),
        (["--concept", "Mosaic", "--attack-n", "3"], "nothing is attacked"),
        (["--concept", "Mosaic", "--attack", "magic"], "magic"),
        (["--concept", "Mosaic", "--no-evaluate", "--protocol", "pocket"], "nothing to measure"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*PLAN, *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not Path("sweep.jsonl").exists()


def test_a_dry_run_estimates_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    plan = [*PLAN, "--concept", "Mosaic", "--concept", "Dogs", "--concept", "Cats"]
    assert run([*plan, "--workers", "2", "--price", "3600", *DRY]) == 0
    estimate = json.loads(capsys.readouterr().out)["estimate"]
    a_job = estimate["seconds_a_job"]
    assert a_job == pytest.approx(sum(estimate["parts"].values()), abs=0.1)
    base = estimate["parts"]["evaluation"]
    assert estimate["seconds"] == pytest.approx(base + 2 * a_job, abs=0.2)  # two rounds
    assert estimate["price"] == pytest.approx(base + 3 * a_job, abs=0.2)  # all workers' seconds
    assert list(Path().iterdir()) == []


def test_another_content_of_a_protocol_is_another_job() -> None:
    protocol, jobs = Path("own.yaml"), []
    for steps in (2, 3):
        protocol.write_text(
            (FOLDER / "four_pictures.yaml").read_text().replace("steps: 2", f"steps: {steps}")
        )
        output = ["--protocol", "own.yaml", "-o", f"{steps}.jsonl"]
        assert run([*PLAN, "--concept", "Mosaic", *output]) == 0
        jobs += jobs_of(f"{steps}.jsonl")
    assert jobs[0]["job"] != jobs[1]["job"]
