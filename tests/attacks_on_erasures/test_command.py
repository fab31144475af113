"""``esdctl attack``: paths on stdout, the table on stderr, and going on after an interruption."""

import json
from pathlib import Path

import pytest

from esdctl.attacks.methods.noise import NoiseSearch
from esdctl.cli.app import run
from esdctl.storage.atomic import read_jsonl

Captured = pytest.CaptureFixture[str]


def command(model: str | Path, root: Path, *more: str, steps: int = 2) -> int:
    budget = root / "small.yaml"
    changes = "noise: {seeds: 1}\nparaphrase: {phrases: 1}\n"
    budget.write_text(f"sampling_steps: {steps}\n{changes}")
    known = ["attack", str(model), "--root", str(root), "--budget", str(budget), "--n", "3"]
    return run([*known, "--device", "cpu", *more])


def test_each_result_is_a_file_and_a_row_of_the_table(
    stirred: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert command(stirred, tmp_path, "--method", "noise,paraphrase") == 0
    out, err = capsys.readouterr()
    noise, paraphrase = (json.loads(Path(line).read_text()) for line in out.splitlines())
    assert [noise["attack"], paraphrase["attack"]] == ["noise", "paraphrase"]
    assert noise["concept"] == {"kind": "style", "name": "Mosaic"}
    assert (noise["n"], noise["before"], noise["new_successes"]) == (3, 0, 0)
    assert noise["asr"] == noise["before_rate"]
    assert (noise["asr"]["percent"], noise["asr"]["n"]) == (0.0, 3)
    assert "ASR %" in err
    assert "paraphrase" in err


def test_the_base_shows_its_concepts_before_any_attack(tmp_path: Path, capsys: Captured) -> None:
    more = ("--concept", "mosaic", "--method", "noise", "--json", "--quiet")
    assert command("pocket", tmp_path, *more, steps=6) == 0
    out, err = capsys.readouterr()
    (result,) = json.loads(out)
    assert result["before"] + result["new_successes"] > 0
    assert result["asr"]["percent"] == pytest.approx(
        100 * (result["before"] + result["new_successes"]) / 3
    )
    assert not err


def test_a_base_needs_a_concept(tmp_path: Path, capsys: Captured) -> None:
    assert command("pocket", tmp_path, "--method", "noise") == 2
    assert "--concept" in capsys.readouterr().err


def test_a_plan_is_told_and_nothing_is_written(
    stirred: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert command(stirred, tmp_path, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["attacks"]["noise"]["settings"] == {"seeds": 1}
    assert plan["pictures"]["steps"] == 2
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("noise: {speeds: 1}", "seeds"),
        ("noise: 3", "seeds"),
        ("noisy: {seeds: 1}", "noise"),
        ("sampling_steps: 0", "1 to 1000"),
        ("noise: {seeds: many}", "number"),
        ("noise: {seeds: 0}", "from 1 on"),
        ("relearn: {every: 0}", "from 1 on"),
        ("inversion: {steps: 1.5}", "from 1 on"),
    ],
)
def test_a_wrong_budget_says_what_is_known(
    text: str, named: str, stirred: Path, tmp_path: Path, capsys: Captured
) -> None:
    budget = tmp_path / "wrong.yaml"
    budget.write_text(text)
    known = ["attack", str(stirred), "--root", str(tmp_path), "--budget", str(budget)]
    assert run(known) in (2, 3)
    assert named in capsys.readouterr().err


def test_after_ctrl_c_the_same_command_goes_on(
    stirred: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = NoiseSearch.run

    def interrupted(self, target, cases, settings):  # type: ignore[no-untyped-def]
        yield from whole(self, target, cases[:1], settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(NoiseSearch, "run", interrupted)
        assert command(stirred, tmp_path, "--method", "noise") == 130
    assert not capsys.readouterr().out
    (rows,) = tmp_path.glob("outputs/attacks/*/noise-small-*/attempts.jsonl")
    first = read_jsonl(rows)
    assert [row["index"] for row in first] == [0]
    assert command(stirred, tmp_path, "--method", "noise") == 0
    assert read_jsonl(rows)[:1] == first
    assert [row["index"] for row in read_jsonl(rows)] == [0, 1, 2]
