"""Prompts from a file or stdin: plain text, CSV or JSON Lines in, rows out."""

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from esdctl.errors import InputError

STDIN = "-"
MAX_SEED = 2**63 - 1  # what a torch generator takes

# Our name for a column, ESD's own, and that of the I2P release; the first one present counts.
SEED_COLUMNS = ("seed", "evaluation_seed", "sd_seed")
GUIDANCE_COLUMNS = ("guidance", "evaluation_guidance", "sd_guidance_scale")
WIDTH_COLUMNS = ("width", "sd_image_width")
HEIGHT_COLUMNS = ("height", "sd_image_height")
_NUMBER_COLUMNS = {*SEED_COLUMNS, *GUIDANCE_COLUMNS, *WIDTH_COLUMNS, *HEIGHT_COLUMNS}

Number = TypeVar("Number", int, float)
Fields = Mapping[str, str]


@dataclass(frozen=True)
class PromptRow:
    """One prompt and what its row says about the picture; None where it says nothing.

    Args:
        prompt: the text.
        seed: 0 to 2**63 - 1.
        guidance: scale, finite and not negative.
        width, height: pixels, multiples of 8.
        extra: every other column, as text.
    """

    prompt: str
    seed: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def read_prompts(source: Path | str) -> list[PromptRow]:
    """Read prompts.

    ``.csv``, ``.tsv`` (a column ``prompt``; commas, tabs or semicolons) and ``.jsonl`` (an object a
    line) are what they are called. Otherwise, and on stdin, the first line tells: a JSON list or
    object, or a header with a column ``prompt``, else plain text, a prompt a line.

    Args:
        source: a path, or ``-`` for stdin.

    Returns:
        The rows, in order; at least one.

    Raises:
        InputError: no such file, not UTF-8, no prompts, no prompt column, or a bad value.
    """
    name = "stdin" if str(source) == STDIN else str(source)
    text = _decode(_read_bytes(source), name)
    rows = list(_parser(text, name)(text, name))
    if not rows:
        raise InputError(f"{name}: no prompts in it", "give one prompt a line")
    return rows


def prompts_from(texts: Iterable[str]) -> list[PromptRow]:
    """Rows of prompts that were given on the command line.

    Raises:
        InputError: a text is not valid Unicode.
    """
    return [PromptRow(_checked_text(text, "--prompt")) for text in texts]


def _read_bytes(source: Path | str) -> bytes:
    if str(source) == STDIN:
        return sys.stdin.buffer.read() if sys.stdin is not None else b""
    try:
        return Path(source).expanduser().read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read prompts from {source}: {error.strerror}",
            "give a file, - for stdin, or --prompt TEXT",
        ) from error


# What people hold in place of prompts: first bytes, and what it is.
_OTHERS = {
    b"PK\x03\x04": "an Excel workbook or a ZIP",
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x1f\x8b": "compressed by gzip",
}


def _decode(content: bytes, name: str) -> str:
    for magic, what in _OTHERS.items():
        if content.startswith(magic):
            raise InputError(f"{name} is {what}, not text", "save it as CSV in UTF-8")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # as Excel's "Unicode text" is
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError:
            raise InputError(
                f"{name}: damaged UTF-16 text", "save the file with the encoding UTF-8"
            ) from None
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise InputError(
            f"{name}, line {line}: a NUL, so it is no text", "save the file with the encoding UTF-8"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}, line {line}: not UTF-8 text", "save the file with the encoding UTF-8"
        ) from error


def _parser(text: str, name: str) -> Callable[[str, str], Iterator[PromptRow]]:
    start = text.lstrip()
    if start.startswith("[") and Path(name).suffix.lower() != ".jsonl":
        return _from_json
    suffix = Path(name).suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _from_csv
    if suffix == ".jsonl":
        return _from_jsonl
    first_line = start.partition("\n")[0].strip()
    if first_line.startswith("{") and first_line.endswith("}") and '"' in first_line:
        return _from_jsonl
    table = _without_separator_line(start)[0].lstrip().partition("\n")[0]
    header = _header(table.split(_delimiter(table)))
    return _from_csv if "prompt" in header and table.strip() != "prompt" else _from_text


def _delimiter(header: str) -> str:
    """What separates the columns of a table: Excel writes ``;`` where a comma is decimal."""
    return max(",\t;", key=header.count)


def _without_separator_line(text: str) -> tuple[str, str | None]:
    """The text without Excel's line ``sep=;``, and the separator that it names."""
    first, _, rest = text.partition("\n")
    found = first.strip().strip('"').lower()
    if found.startswith("sep=") and len(found) <= 5:
        return rest, first.strip().strip('"')[4:] or "\t"
    return text, None


def _from_text(text: str, name: str) -> Iterator[PromptRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield PromptRow(_checked_text(line.strip(), f"{name}, line {number}"))


def _from_csv(text: str, name: str) -> Iterator[PromptRow]:
    text, delimiter = _without_separator_line(text)
    before = 0 if delimiter is None else 1  # lines that are not handed to the reader
    if delimiter is None:
        delimiter = _delimiter(text.lstrip().partition("\n")[0])
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    line = 1 + before  # where the record begins; quoted fields may hold line breaks
    header: list[str] | None = None
    try:
        for record in reader:
            place, line = f"{name}, line {line}", reader.line_num + 1 + before
            if not any(record):
                continue
            if header is None:
                header = _checked_header(record, place)
                continue
            while len(record) > len(header) and not record[-1].strip():
                record.pop()  # trailing commas
            if len(record) != len(header):
                raise InputError(f"{place}: {len(record)} fields, the header has {len(header)}")
            yield _row(dict(zip(header, record, strict=True)), place)
    except csv.Error as error:
        raise InputError(
            f"{name}, line {line}: not CSV ({error})", "check its quotes and commas"
        ) from error


def _from_json(text: str, name: str) -> Iterator[PromptRow]:
    """A JSON list of texts or of objects; text that only begins with a bracket is plain."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if Path(name).suffix.lower() in (".txt", "") and not text.lstrip().startswith(('["', "[{")):
            yield from _from_text(text, name)
            return
        raise InputError(f"{name}: not JSON ({error})", "give a list of texts") from error
    for number, item in enumerate(content, start=1):
        place = f"{name}, item {number}"
        if isinstance(item, str):
            yield PromptRow(_checked_text(item, place))
        elif isinstance(item, dict) and isinstance(item.get("prompt"), str):
            yield _row({key: _as_text(value) for key, value in item.items()}, place)
        else:
            raise InputError(f"{place}: no prompt", 'write "..." or {"prompt": "..."}')


def _from_jsonl(text: str, name: str) -> Iterator[PromptRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error})", "give one object a line") from error
        if not isinstance(content, dict):
            raise InputError(f"{place}: not a JSON object", 'write {"prompt": "..."}')
        if not isinstance(content.get("prompt"), str):
            raise InputError(f"{place}: no text under the key prompt", 'write {"prompt": "..."}')
        yield _row({key: _as_text(value) for key, value in content.items()}, place)


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _header(names: list[str]) -> list[str]:
    return [name.strip().strip('"').lower() for name in names]


def _checked_header(record: list[str], place: str) -> list[str]:
    header = _header(record)
    while len(header) > 1 and not header[-1]:
        header.pop()  # trailing commas
    if "prompt" not in header:
        raise InputError(
            f"{place}: no column prompt (columns: {', '.join(filter(None, header))})",
            "name the column that holds the prompts `prompt`",
        )
    if len(set(header)) < len(header):
        raise InputError(f"{place}: two columns have the same name")
    return header


def _row(fields: Fields, place: str) -> PromptRow:
    prompt = _checked_text(fields["prompt"], place)
    prompt = prompt if prompt.strip() else ""  # I2P's "Null", in many copies
    known = {"prompt", *_NUMBER_COLUMNS}
    return PromptRow(
        prompt,
        seed=_number(fields, SEED_COLUMNS, _seed, place),
        guidance=_number(fields, GUIDANCE_COLUMNS, _guidance, place),
        width=_number(fields, WIDTH_COLUMNS, _pixels, place),
        height=_number(fields, HEIGHT_COLUMNS, _pixels, place),
        extra={name: value for name, value in fields.items() if name not in known},
    )


def _checked_text(text: str, place: str) -> str:
    """Refuse lone surrogates: JSON escapes and command lines can carry them, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: the prompt is not valid Unicode") from error
    return text


def _number(
    fields: Fields, columns: tuple[str, ...], parse: Callable[[str], Number], place: str
) -> Number | None:
    """The first of ``columns`` that is present and not blank, as a number."""
    for column in columns:
        text = fields.get(column, "").strip()
        if not text:
            continue
        try:
            return parse(text)
        except ValueError as error:
            raise InputError(f"{place}: {column} is {text!r}, {error}") from None
    return None


def _seed(text: str) -> int:
    seed = _whole(text, "but a seed is a whole number")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"but a seed lies between 0 and {MAX_SEED}")
    return seed


def _guidance(text: str) -> float:
    try:
        guidance = float(text)
    except ValueError:
        guidance = math.nan
    if not math.isfinite(guidance) or guidance < 0:
        raise ValueError("but guidance is a number of at least 0")
    return guidance


def _pixels(text: str) -> int:
    pixels = _whole(text, "but a size is a whole number")
    if pixels <= 0 or pixels % 8:
        raise ValueError("but a size is a multiple of 8")
    return pixels


def _whole(text: str, complaint: str) -> int:
    """A whole number; tables that went through floating point write ``512.0``."""
    digits = text.removesuffix(".0")
    if not (digits.removeprefix("-").isascii() and digits.removeprefix("-").isdigit()):
        raise ValueError(complaint)
    if len(digits) > 20:  # more than any seed has; int() refuses thousands of digits by itself
        raise ValueError("which is too large")
    return int(digits)
