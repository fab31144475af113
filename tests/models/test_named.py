"""Short names: a run by its folder's name or an unambiguous beginning, and what was meant."""

import json
from pathlib import Path

import pytest

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.cli.app import run
from esdctl.errors import InputError, UsageError
from esdctl.models.erased import apply_all
from esdctl.models.named import POCKET, find_run, known_models
from esdctl.models.resolve import resolve_model
from esdctl.storage.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three finished runs of pocket, which change nothing but a bias."""
    import torch
    from safetensors.torch import load_file

    bias = load_file(POCKET / "unet/diffusion_pytorch_model.safetensors")["conv_out.bias"]
    workspace = Workspace(tmp_path_factory.mktemp("root"))
    for name in ("Dogs-xattn-0a0a0a0a", "Rust-full-1b1b1b1b", "Rust-xattn-2c2c2c2c"):
        folder = workspace.outputs / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"settings": {}}))
        about = {"base": "pocket", "concept": name.partition("-")[0]}
        write_delta(folder / "delta.safetensors", {"conv_out.bias": torch.zeros_like(bias)}, about)
    return workspace


def test_a_runs_name_and_an_unambiguous_beginning_of_it_name_its_model(
    workspace: Workspace,
) -> None:
    dogs = workspace.outputs / "runs/Dogs-xattn-0a0a0a0a"
    for name in (dogs.name, "Dogs", "dogs-x"):
        found = resolve_model(name, workspace)
        assert found.delta is not None
        assert found.delta.parent == dogs
    both, _ = apply_all(["Dogs", "Rust-full"], None, 1.0, False, workspace)
    assert both.about["concept"] == "Dogs, Rust"


def test_an_ambiguous_beginning_is_refused_with_the_runs_it_may_mean(
    workspace: Workspace,
) -> None:
    with pytest.raises(UsageError, match="beginning of 2 runs") as caught:
        resolve_model("Rust", workspace)
    assert "Rust-full-1b1b1b1b, Rust-xattn-2c2c2c2c" in caught.value.hint


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("pokcet", "pocket"), ("Dgos", "Dogs-xattn-0a0a0a0a"), ("compivs", "compvis"),
     ("Rust-xatn-2c2c2c2c", "Rust-xattn-2c2c2c2c")],
)  # fmt: skip
def test_a_misspelt_model_or_run_is_answered_with_the_nearest(
    misspelt: str, meant: str, workspace: Workspace
) -> None:
    with pytest.raises(InputError) as caught:
        resolve_model(misspelt, workspace)
    assert f"did you mean {meant}" in caught.value.hint


def test_a_name_like_nothing_lists_what_is_here(workspace: Workspace) -> None:
    with pytest.raises(InputError) as caught:
        resolve_model("zzzzzzzz", workspace)
    assert "here are pocket, pocket-flow, Dogs-xattn-0a0a0a0a" in caught.value.hint


def test_an_existing_path_comes_before_a_runs_name(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Dogs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="neither a pipeline folder"):
        resolve_model("Dogs", workspace)


def test_links_are_no_runs(workspace: Workspace, tmp_path: Path) -> None:
    root = Workspace(tmp_path)
    (root.outputs / "runs").mkdir(parents=True)
    target = workspace.outputs / "runs/Dogs-xattn-0a0a0a0a"
    (root.outputs / "runs/Linked").symlink_to(target, target_is_directory=True)
    assert find_run("Linked", root) is None
    assert known_models(root) == ["pocket", "pocket-flow"]


def test_commands_take_short_names(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(workspace.root)]
    assert run(["inspect", "Dogs", *root]) == 0
    assert "Dogs-xattn-0a0a0a0a" in capsys.readouterr().out
    assert run(["verify", "Dogs", *root, "--dry-run"]) == 0
    assert "Dogs-xattn-0a0a0a0a" in capsys.readouterr().out
    assert run(["diff", "Rust-full", "Rust-xattn", *root]) == 0
    assert run(["export", "Dogs", "--to", "delta", "--dry-run", *root]) == 0
    assert run(["train", "--resume", "Rust", *root]) == 2
    assert "Rust-full-1b1b1b1b" in capsys.readouterr().err
