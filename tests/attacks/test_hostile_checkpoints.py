"""Hostile checkpoints: each is refused with its own message, runs nothing and leaves no trace."""

import pickle
import re
from pathlib import Path

import pytest

from esdctl.checkpoints.tensor_file import open_tensors, peek_tensors
from tests.attacks.checkpoint_attack import CheckpointAttack
from tests.attacks.checkpoint_builder import (
    call,
    legacy_file,
    name,
    state_dict,
    tensor,
    text,
    zip_file,
)
from tests.attacks.hostile_checkpoints import EVERY, IN_THE_VALUES
from tests.attacks.hostile_pickles import CANARY, Payload
from tests.attacks.traces import snapshot

NAMES = [attack.name for attack in EVERY]
PEEKED = [attack for attack in EVERY if attack.name not in IN_THE_VALUES]
LOCK = "models/.evil.ckpt.lock"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a file around it and a module that an import would run."""
    (tmp_path / "outside.txt").write_text("mine")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "evil_module.py").write_text(f"open({CANARY!r}, 'w').close()\n")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def read_everything(path: Path) -> None:
    opened = open_tensors(path)
    for tensor_name in opened.infos:
        opened.read(tensor_name)


def check_refusal(caught: pytest.ExceptionInfo[BaseException], attack: CheckpointAttack) -> None:
    error = caught.value
    assert isinstance(error, attack.error)
    assert error.hint
    assert error.message.isprintable()
    assert "evil.ckpt" in error.message


@pytest.mark.parametrize("attack", EVERY, ids=NAMES)
def test_opening_refuses_and_leaves_no_trace(attack: CheckpointAttack, folder: Path) -> None:
    path = folder / "evil.ckpt"
    path.write_bytes(attack.data)
    before = snapshot(folder.parent)
    with pytest.raises(attack.error, match=re.escape(attack.message)) as caught:
        read_everything(path)
    check_refusal(caught, attack)
    after = snapshot(folder.parent)
    made = {path for path in set(after) - set(before) if path != LOCK}
    assert not made or attack.name in IN_THE_VALUES
    assert all(path.endswith(".safetensors") for path in made)  # the copy that tells the values
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize("attack", PEEKED, ids=[attack.name for attack in PEEKED])
def test_peeking_refuses_and_leaves_no_trace(attack: CheckpointAttack, folder: Path) -> None:
    path = folder / "evil.ckpt"
    path.write_bytes(attack.data)
    before = snapshot(folder.parent)
    with pytest.raises(attack.error, match=re.escape(attack.message)) as caught:
        peek_tensors(path)
    check_refusal(caught, attack)
    assert snapshot(folder.parent) == before


def test_there_are_many_attacks_and_no_two_alike() -> None:
    assert len(EVERY) >= 180
    assert len(set(NAMES)) == len(EVERY)
    assert len({attack.data for attack in EVERY}) == len(EVERY)
    assert set(IN_THE_VALUES) <= set(NAMES)


def test_the_payload_runs_where_it_is_unpickled(folder: Path) -> None:
    pickle.loads(pickle.dumps(Payload()))
    assert (folder / CANARY).exists()


@pytest.mark.parametrize("form", [zip_file, legacy_file], ids=["zip", "legacy"])
def test_an_unknown_package_is_neither_imported_nor_called(form: type, folder: Path) -> None:
    stub = call(name("evil_module", "run"), text("now"))
    (folder / "model.ckpt").write_bytes(form(state_dict(tensor(), callbacks=stub)))
    opened = open_tensors(folder / "model.ckpt")
    assert opened.read("weight").tolist() == [[1, 2], [3, 4]]
    assert opened.metadata["dropped"] == "callbacks"
    assert not (folder / CANARY).exists()


@pytest.mark.parametrize("module", ["omegaconf.dictconfig", "typing", "functools", "random", "re"])
def test_a_class_that_nothing_reads_is_left_aside_and_named(module: str, folder: Path) -> None:
    class_name = {"typing": "Any", "functools": "partial", "random": "Random", "re": "_compile"}
    mentioned = class_name.get(module, "DictConfig")
    stub = call(name(module, mentioned), text("a"))
    (folder / "model.ckpt").write_bytes(zip_file(state_dict(tensor(), hyper_parameters=stub)))
    assert peek_tensors(folder / "model.ckpt").metadata["left_aside"] == f"{module}.{mentioned}"
