"""Prompts from text, CSV and JSON Lines; what is wrong is named with its file and line."""

import io
import os
import sys
import threading
from pathlib import Path

import pytest

from esdctl.datasets.prompt_row import PromptRow
from esdctl.datasets.prompts import prompts_from, read_prompts
from esdctl.errors import InputError

FAMILY = "👩‍👩‍👧 with a cat"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_text_is_a_prompt_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.txt", f"\ufeff a dog \r\n\r\n{FAMILY}, red\n")
    assert read_prompts(path) == [PromptRow("a dog"), PromptRow(f"{FAMILY}, red")]


def test_csv_gives_each_row_its_settings_and_keeps_other_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "prompts.csv",
        '\ufeffPrompt,seed,guidance,width,height,category\n"a ""dog"",\nrunning",7,3.5,64,128,x\n'
        f"{FAMILY},,,,,\n",
    )
    assert read_prompts(path) == [
        PromptRow('a "dog",\nrunning', 7, 3.5, 64, 128, {"category": "x"}),
        PromptRow(FAMILY, extra={"category": ""}),
    ]


@pytest.mark.parametrize(
    "header",
    [
        "prompt,evaluation_seed,evaluation_guidance,sd_image_width,sd_image_height",
        "prompt,sd_seed,sd_guidance_scale,sd_image_width,sd_image_height",
    ],
)
def test_both_spellings_of_i2p_are_understood(header: str, tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.csv", f"{header}\na dog,4080709695.0,7,512.0,512\n")
    assert read_prompts(path) == [PromptRow("a dog", 4080709695, 7.0, 512, 512)]


def test_json_lines_are_objects_with_a_prompt(tmp_path: Path) -> None:
    path = write(
        tmp_path / "prompts.jsonl",
        '{"prompt": "a\\ndog", "seed": 9223372036854775807, "guidance": 0, "tags": ["x", 1]}\n\n'
        '{"prompt": "b", "seed": null}\n',
    )
    assert read_prompts(path) == [
        PromptRow("a\ndog", 2**63 - 1, 0.0, extra={"tags": '["x", 1]'}),
        PromptRow("b"),
    ]


@pytest.mark.parametrize(
    ("content", "first"),
    [
        ("a dog, red\na cat\n", PromptRow("a dog, red")),
        ('"seed","prompt"\n3,"a dog"\n', PromptRow("a dog", 3)),
        ('{"prompt": "a dog"}\n', PromptRow("a dog")),
    ],
)
def test_stdin_tells_its_format_by_its_first_line(
    content: str, first: PromptRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert read_prompts("-")[0] == first


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", "", "a.txt: no prompts"),
        ("a.csv", "prompt,seed\n", "a.csv: no prompts"),
        ("a.csv", "text,seed\na,1\n", r"line 1: no column prompt \(columns: text, seed\)"),
        ("a.csv", "prompt,prompt\na,b\n", "line 1: two columns"),
        ("a.csv", 'prompt,seed\n"a\nb",1\nc,x\n', "line 4: seed is 'x', but a seed is a whole"),
        ("a.csv", "prompt,seed\na,-1\n", "line 2: seed is '-1', but a seed lies"),
        ("a.csv", "prompt,seed\na,9223372036854775808\n", "line 2: seed .* lies between"),
        ("a.csv", f"prompt,seed\na,{'9' * 5000}\n", "which is too large"),
        ("a.csv", "prompt,guidance\na,nan\n", "line 2: guidance is 'nan'"),
        ("a.csv", "prompt,guidance\na,-0.5\n", "guidance is a number of at least 0"),
        ("a.csv", "prompt,width\na,100\n", "line 2: width is '100', but a size is a multiple of 8"),
        ("a.csv", "prompt,height\na,0\n", "a size is a multiple of 8"),
        ("a.csv", "prompt,seed\na\n", "line 2: 1 fields, the header has 2"),
        ("a.csv", 'prompt\n"a\n', "line 2: not CSV"),
        ("a.txt", b"a\nb\xff\n", "a.txt, line 2: not UTF-8"),
        ("a.jsonl", '{"prompt": "a"}\n{"pro\n', "line 2: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("a.jsonl", '{"text": "a"}\n', "line 1: no text under the key prompt"),
        ("a.jsonl", '{"prompt": 3}\n', "line 1: no text under the key prompt"),
        ("a.jsonl", '{"prompt": "a", "seed": true}\n', "seed is 'true'"),
        ("a.jsonl", '{"prompt": "\\ud800"}\n', "line 1: the prompt is not valid Unicode"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    name: str, content: str | bytes, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=complaint):
        read_prompts(write(tmp_path / name, content))


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: No such file"):
        read_prompts(tmp_path / "none.txt")
    with pytest.raises(InputError, match="Is a directory"):
        read_prompts(tmp_path)


def test_a_prompt_of_the_command_line_may_be_empty_but_not_broken() -> None:
    assert prompts_from([""]) == [PromptRow("")]
    with pytest.raises(InputError, match="not valid Unicode"):
        prompts_from(["caf\udce9"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "prompt;seed\na dog;7\n"),
        ("a.csv", "sep=;\r\nprompt;seed\r\na dog;7\r\n"),
        ("a.tsv", "prompt\tseed\na dog\t7\n"),
        ("a.txt", "prompt\tseed\na dog\t7\n"),
        ("a.txt", "case_number,prompt,evaluation_seed\n0,a dog,7\n"),
        ("a.csv", "prompt,seed,,\na dog,7,,\n"),
        ("a.csv", "prompt,seed\na dog,7,,\n"),
        ("a.csv", "prompt,seed\na dog,7\n".encode("utf-16")),
        ("a.txt", '[{"prompt": "a dog", "seed": 7}]'),
        ("a.json", '[{"prompt": "a dog", "seed": 7}]'),
        ("a.txt", '{"prompt": "a dog", "seed": 7}\n'),
    ],
)
def test_tables_and_lists_are_read_as_what_they_are(
    name: str, content: str | bytes, tmp_path: Path
) -> None:
    (row,) = read_prompts(write(tmp_path / name, content))
    assert (row.prompt, row.seed) == ("a dog", 7)


def test_a_list_of_texts_is_prompts_and_a_bracket_is_text(tmp_path: Path) -> None:
    rows = read_prompts(write(tmp_path / "a.txt", '["a dog", "a cat"]'))
    assert [row.prompt for row in rows] == ["a dog", "a cat"]
    rows = read_prompts(write(tmp_path / "b.txt", "[portrait] of a dog; red\nprompt\n"))
    assert [row.prompt for row in rows] == ["[portrait] of a dog; red", "prompt"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04rest", "an Excel workbook"),
        (b"PAR1rest", "a Parquet file"),
        (b"prompt\na\0b\n", "line 2: a NUL"),
        ("prompt\na dog\n".encode("utf-16-le"), "UTF-16 text without its byte order mark"),
        ("prompt\na dog\n".encode("utf-16-be"), "UTF-16 text without its byte order mark"),
        (b"<!DOCTYPE html>\n<html><p>a dog</p></html>", "a web page"),
        (b"\xef\xbb\xbf\n<HTML>\n", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        (b'["a dog", ', "not JSON"),
    ],
)
def test_what_is_no_text_is_refused_by_name(content: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=what):
        read_prompts(write(tmp_path / "a.csv", content))


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a"])
@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("caption,seed", "caption"),
        ("file_name,text", "text"),
        (",caption", "caption"),
        ("id\ttext", "text"),
        ("Text;Guidance", "text"),
    ],
)
def test_a_column_of_prompts_with_another_name_is_told(
    name: str, header: str, column: str, tmp_path: Path
) -> None:
    separator = next(sign for sign in ",\t;" if sign in header)
    path = write(tmp_path / name, f"{header}\na dog{separator}7\n")
    with pytest.raises(InputError, match="line 1: no column prompt") as caught:
        read_prompts(path)
    assert caught.value.hint == f"name the column {column} `prompt`"


@pytest.mark.parametrize(
    "text", ["a sign, text, red", "text", "caption, portrait", "path, text on it"]
)
def test_a_plain_prompt_may_speak_of_text(text: str, tmp_path: Path) -> None:
    assert read_prompts(write(tmp_path / "a.txt", f"{text}\n")) == [PromptRow(text)]


@pytest.mark.parametrize(
    "content",
    [
        "- a cat\n",
        "# Animals\n\n* a cat\n* a dog\n",
        "1. a cat\n2. a dog\n",
        "1) a cat\n",
        "• a cat\n",
    ],
)
def test_list_marks_are_refused_where_most_lines_have_them(content: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt, line \d: a list mark"):
        read_prompts(write(tmp_path / "a.txt", content))
    as_csv = write(tmp_path / "a.csv", f"prompt\n{content}")
    assert read_prompts(as_csv)[-1].prompt == content.splitlines()[-1]


def test_a_mark_among_plain_prompts_and_a_number_are_text(tmp_path: Path) -> None:
    lines = ["- a cat", "a dog", "1.5 litres of milk", "-20 degrees"]
    rows = read_prompts(write(tmp_path / "a.txt", "\n".join(lines)))
    assert [row.prompt for row in rows] == lines


@pytest.mark.parametrize("source", ["/dev/zero", "a file", "-"])
def test_what_does_not_end_is_refused_by_its_size(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "/dev/zero" and not Path(source).exists():
        pytest.skip("this system has no such device")
    endless = tmp_path / "a.txt"
    with endless.open("wb") as file:
        file.truncate(2**29)  # sparse: it takes no place
    with endless.open("rb") as file, pytest.raises(InputError, match="more than 268 MB") as caught:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        read_prompts(endless if source == "a file" else source)
    assert "head -n" in caught.value.hint


def test_a_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a dog\n",))
    writer.start()
    assert read_prompts(pipe) == [PromptRow("a dog")]
    writer.join()
