"""Erasing from Python gives what the commands give, as objects."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import esdctl
from esdctl.cli.app import run as command
from esdctl.errors import InputError, Interrupted, UsageError
from esdctl.progress import Silent
from esdctl.sampling.noise import initial_noise

PROMPT = "A Dogs image in Mosaic style."


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def run(root: Path) -> esdctl.Run:
    return esdctl.erase(
        "pocket",
        "Dogs",
        root=root,
        iterations=0,
        warm_start=True,
        contact_sheet=False,
        devices="cpu",
    )  # fmt: skip


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import esdctl; "
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('esdctl')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in out.stdout
    assert "typer" not in out.stdout
    assert "rich" not in out.stdout


def test_every_public_function_is_typed_and_documented() -> None:
    for name in set(esdctl.__all__) - {"__version__", "errors"}:
        thing = getattr(esdctl, name)
        assert thing.__doc__
        if inspect.isfunction(thing):
            assert "return" in inspect.get_annotations(thing)
    assert set(esdctl.__all__) <= set(dir(esdctl))
    with pytest.raises(AttributeError, match="erasse"):
        _ = esdctl.erasse


def test_a_run_has_the_commands_folder_and_record(
    run: esdctl.Run, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [
        "--concept",
        "Dogs",
        "--iterations",
        "0",
        "--warm-start",
        "--no-contact-sheet",
        "--devices",
        "cpu",
    ]
    assert command(["train", "--model", "pocket", *same, "--root", str(root)]) == 0
    assert capsys.readouterr().out.strip() == str(run.path)
    assert run.concept == "Dogs"
    assert "nothing to do" not in str(run.record)
    assert run.record["provenance"]["command_line"][0] == "esdctl.erase"


def test_the_pipeline_holds_the_delta_and_makes_the_pictures_of_sample(run: esdctl.Run) -> None:
    pipe = run.pipeline("cpu")
    state = pipe.unet.state_dict()
    delta = load_file(run.delta)
    assert delta
    assert all(torch.equal(state[name], value) for name, value in delta.items())
    pipe.set_progress_bar_config(disable=True)
    noise = initial_noise([7], (4, 16, 16))
    theirs = pipe(
        PROMPT, num_inference_steps=4, guidance_scale=3.0, latents=noise, output_type="np"
    ).images[0]
    (ours,) = run.sample(PROMPT, seeds=7, steps=4, device="cpu", reporter=Silent())
    difference = np.abs((theirs * 255).round() - np.asarray(ours, dtype=np.float64))
    assert difference.max() <= 1
    (before,) = run.base().sample(PROMPT, seeds=7, steps=4, device="cpu", reporter=Silent())
    assert np.abs(np.asarray(before, dtype=int) - np.asarray(ours, dtype=int)).max() > 20


def test_pictures_on_disk_are_the_commands(run: esdctl.Run, root: Path, tmp_path: Path) -> None:
    pictures = run.sample("a", "b", seeds=[1, 2], steps=1, output=tmp_path / "mine", device="cpu")
    line = ["--prompt", "a", "--prompt", "b", "--seeds", "1,2", "--steps", "1", "--device", "cpu"]
    line += ["--model", str(run.path), "--root", str(root), "--output", str(tmp_path / "theirs")]
    assert command(["sample", *line]) == 0
    names = sorted(path.name for path in (tmp_path / "theirs").glob("*.png"))
    assert len(pictures) == len(names) == 4
    for name in names:
        assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_evaluating_a_run_gives_the_commands_report(run: esdctl.Run, root: Path) -> None:
    grid = {"styles": ["Mosaic"], "objects": ["Dogs", "Cats"], "steps": 1, "device": "cpu"}
    report = esdctl.evaluate(run, **grid)
    assert [target.name for target in report.targets] == ["Dogs"]
    assert report.pictures == 2
    assert (root / "outputs/evaluations").is_dir()


def test_a_run_is_opened_by_the_beginning_of_its_name(run: esdctl.Run, root: Path) -> None:
    again = esdctl.open_run("Dogs", root=root)
    assert again.path == run.path
    assert again.contact_sheet() is None
    with pytest.raises(InputError, match="no run folder"):
        esdctl.open_run("Cats", root=root)


def test_mistakes_are_errors_of_esdctl(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        esdctl.erase("pocket", "Dogs", root=root, iteratoins=1)
    assert "iterations" in caught.value.hint
    with pytest.raises(InputError) as missing:
        esdctl.open_model("pokcet", root=root)
    assert "pocket" in missing.value.hint
    with pytest.raises(esdctl.errors.UsageError, match="no prompts"):
        esdctl.open_model().sample()


class PressesCtrlC(Silent):
    """Presses Ctrl-C, as a notebook's stop button does, when the first step is done."""

    def advanced(self, task: str, done: int, details: str = "") -> None:
        import signal

        if task == "train" and done == 1:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_keeps_the_state_and_resume_ends_as_if_unbroken(root: Path, tmp_path: Path) -> None:
    settings = {"preset": "pocket-cold", "iterations": 2, "contact_sheet": False}
    settings |= {"ddim_steps": 3, "batch_size": 1}
    unbroken = esdctl.erase("pocket", "Dogs", root=root, output=tmp_path / "one", **settings)
    with pytest.raises(Interrupted, match="state is saved"):
        esdctl.erase(
            "pocket", "Dogs", root=root, output=tmp_path / "two", reporter=PressesCtrlC(),
            **settings,
        )  # fmt: skip
    resumed = esdctl.resume(tmp_path / "two", root=root)
    assert resumed.delta.read_bytes() == unbroken.delta.read_bytes()
