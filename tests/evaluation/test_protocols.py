"""Protocols are data: listed, found by name or file, and said with every figure."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.datasets.unlearn_canvas import evaluation_prompt
from esdctl.erasing.preset import load_preset
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.plan import plan_evaluation
from esdctl.evaluation.protocols.protocol import find_protocol, protocol_names, read_protocol
from esdctl.evaluation.request import Request
from esdctl.models.resolve import Pipeline
from esdctl.pocket.captions import all_captions

Captured = pytest.CaptureFixture[str]
OWN = """
name: two-wordings
version: 3
about: a test
source: nobody
grid: {wordings: ["{style} {object}", "{object}, {style}"], seeds: [1]}
sampling: {steps: 2, guidance: 3.0, largest: 64}
counts: {figures: accuracy}
"""


def written(folder: Path, text: str = OWN) -> Path:
    path = folder / "own.yaml"
    path.write_text(text)
    return path


def evaluate(model: Pipeline, root: Path, *more: str) -> int:
    name = str(model.delta or model.folder)
    return run(["evaluate", "--model", name, "--root", str(root), *more])


def test_the_list_names_every_protocol_with_its_version(capsys: Captured) -> None:
    assert run(["evaluate", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == protocol_names()
    shipped = {"pocket", "pocket-held-out", "unlearn-canvas", "unlearn-canvas-quick"}
    shipped |= {"i2p-esd", "i2p-mace", "i2p-rece", "i2p-official", "fidelity", "hub-like"}
    assert shipped <= set(protocol_names())
    assert run(["evaluate", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["version"] >= 1 and row["source"] and row["digest"] for row in rows)


def test_every_shipped_protocol_is_valid_and_is_called_like_its_file() -> None:
    for name in protocol_names():
        protocol = find_protocol(name)
        assert protocol.name == name
        assert protocol.source
        assert protocol.departs or "ours" in protocol.source


def test_figures_name_protocol_version_and_what_was_changed(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert evaluate(erased, tmp_path, "--steps", "1", "--seeds", "3", "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    used = document["protocol"]
    assert (used["name"], used["version"]) == ("pocket", find_protocol("pocket").version)
    assert used["changes"] == {"seeds": "3", "steps": "1"}
    assert "pocket v1, changed: seeds 3; steps 1" in err
    (kept,) = (tmp_path / "outputs/evaluations/figures").rglob("pocket-*.json")
    assert json.loads(kept.read_text())["unlearning"] == document["unlearning"]


def test_the_protocols_own_values_are_no_changes(base: Pipeline) -> None:
    plan = plan_evaluation(base, Request(seeds=(188,), steps=25, guidance=3.0, scheduler="ddim"))
    assert plan.changes == {}
    assert plan.protocol.name == "pocket"


def test_a_users_file_asks_in_other_words(base: Pipeline, tmp_path: Path, capsys: Captured) -> None:
    assert evaluate(base, tmp_path, "--protocol", str(written(tmp_path)), "--json", "-q") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["protocol"]["name"] == "two-wordings"
    assert document["protocol"]["version"] == 3
    assert document["count"] == 2 * 2 * 2
    rows = [json.loads(line) for line in Path(document["model"]["rows"]).read_text().splitlines()]
    assert {row["prompt"] for row in rows if (row["style"], row["object"]) == (
        "Neon_Lines", "Dogs",
    )} == {"Neon Lines Dogs", "Dogs, Neon Lines"}  # fmt: skip
    assert len({row["seed"] for row in rows}) == len(rows)  # no two pictures share their noise


def test_another_content_is_another_digest(tmp_path: Path) -> None:
    first = read_protocol(written(tmp_path))
    second = read_protocol(written(tmp_path, OWN.replace("steps: 2", "steps: 3")))
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version: 3", "version: 0", "version"),
        ("{style} {object}", "{style} of {animal}", "must hold"),
        ("steps: 2", "steps: 0", "sampling.steps"),
        ("about: a test", "abuot: a test", "abuot"),
        ("{figures: accuracy}", "{figures: beauty}", "counts.figures"),
        ("grid: {", "rows: {table: i2p}\ngrid: {", "either grid or rows"),
        ("name: two-wordings", "name: ../x", "name"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_protocol(written(tmp_path, OWN.replace(old, new)))


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_protocol("i2p-mase")
    assert "i2p-mace" in caught.value.hint


def test_a_judge_of_another_digest_is_refused(base: Pipeline, tmp_path: Path) -> None:
    bound = OWN + f"judge_digests: {{pocket: '{'a' * 64}'}}\n"
    assert evaluate(base, tmp_path, "--protocol", str(written(tmp_path, bound))) == 5


def test_held_out_wordings_are_none_that_the_model_or_the_erasure_was_told() -> None:
    protocol = find_protocol("pocket-held-out")
    assert protocol.grid is not None
    captions = {
        caption.text for kind in all_captions(["Pop_Art"], ["Dogs"]).values() for caption in kind
    }
    asked = {evaluation_prompt("Pop_Art", "Dogs", wording) for wording in protocol.grid.wordings}
    assert len(asked) == len(protocol.grid.wordings) >= 3
    assert not asked & captions
    for template in ("style", "object"):
        trained = load_preset("pocket", template, False).values["prompt"]
        assert isinstance(trained, list)
        spelt_out = {
            prompt.replace("{concept}", name) for prompt in trained for name in ("Pop Art", "Dogs")
        }
        assert not asked & spelt_out
