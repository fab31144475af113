"""Users' YAML is read strictly: what it looks like is what it is, and a fault has its line."""

from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.errors import InputError
from esdctl.settings.yaml_file import load_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0123", 123),  # YAML 1.1 reads 83
        ("08", 8),
        ("0o17", 15),
        ("0x1F", 31),
        ("1:30", "1:30"),  # YAML 1.1 reads 90
        ("1_000", "1_000"),
        ("no", "no"),
        ("off", "off"),
        ("True", True),
        ("1e-5", 1e-5),  # YAML 1.1 reads text
        (".5", 0.5),
        ("2023-13-45", "2023-13-45"),
        ("2023-01-05", "2023-01-05"),
        ("~", None),
        ("", None),
        ("'~'", "~"),
        ("=", "="),
    ],
)
def test_a_value_is_what_it_looks_like(tmp_path: Path, text: str, value: object) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"a: {text}\n")
    assert load_yaml(file) == {"a": value}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lr: 1\nseed: 2\nlr: 3", "line 3: the key lr stands here twice"),
        ("a: {b: 1, b: 2}", "line 1: the key b stands here twice"),
        ("a: 1\nb: !!int abc", "line 2: 'abc' is none of int"),
        ("a: !!bool perhaps", "line 1: 'perhaps' is none of bool"),
        ("a: !!timestamp 2023-13-45", "line 1: '2023-13-45' is none of timestamp"),
        ("a: !!python/object/apply:os.system [true]", "line 1: could not determine a constructor"),
        ("? [1, 2]\n: 3", "line 1: a key must be a word"),
        ("[" * 3000, "nested too deeply"),
        ("a: *b", "line 1: found undefined alias"),
        ("- 1", "line 1: expected `key: value` lines"),
        ("a: \x00", "not a text file"),
        ('a: "\\ud83d"', "line 1: '\\ud83d' is none of str"),
        ("a: " + "9" * 5000, "line 1: '" + "9" * 40 + "' is none of int"),
        ("a: &a [*a]", "line 1: found unconstructable recursive node"),
        ("[train]\nlr = 1", "line 2: expected"),
        ("lr:1\nseed:2", "line 1: expected `key: value` lines"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"x\.yaml") as error:
        read_yaml(file)
    assert told in error.value.message


def test_aliases_that_stand_for_millions_of_values_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    file.write_text("\n".join(["a0: &a0 x", *lines]))
    with pytest.raises(InputError, match="aliases stand for too many values"):
        read_yaml(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_editors_and_shells_write_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes("concept: Käse 🧀\r\nlr: 1\r\n".encode(encoding))
    assert load_yaml(file) == {"concept": "Käse 🧀", "lr": 1}


def test_merged_mappings_may_be_overridden(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: &usual {lr: 1, seed: 2}\nb: {<<: *usual, seed: 3}\n")
    assert load_yaml(file) == {"a": {"lr": 1, "seed": 2}, "b": {"lr": 1, "seed": 3}}


def test_a_damaged_settings_file_ends_the_command_with_status_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("concept: Dogs\nconcept: Cats\n")
    assert run(["train", "--config", str(file), "--dry-run"]) == 3
    assert "the key concept stands here twice" in capsys.readouterr().err
