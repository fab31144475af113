"""YAML files of users, read strictly: by YAML 1.2's core schema, each key once, errors with line.

PyYAML reads YAML 1.1, in which ``0123`` is 83, ``1:30`` is 90, ``no`` is false and an impossible
date ends in a traceback. Here ``0123`` is 123, and the others are the text that they look like.
"""

import codecs
import re
from collections.abc import Hashable
from pathlib import Path

import yaml

from esdctl.errors import InputError

MOST_VALUES = 100_000  # an alias counts as what it stands for
_NO_TEXT_HINT = "save it as text in UTF-8"
_TAG = "tag:yaml.org,2002:"


class _CoreLoader(yaml.SafeLoader):
    """YAML 1.2's core schema (section 10.3), and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # `!!int abc`
            message = f"{str(node.value)[:40]!r} is none of {node.tag.removeprefix(_TAG)}"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from error


for _kind, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+."]),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("merge", r"<<", ["<"]),
]:
    _CoreLoader.add_implicit_resolver(_TAG + _kind, re.compile(rf"^(?:{_pattern})$"), _first)


def _construct_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    text.encode()  # half a character, as "\\ud83d", is a ValueError
    return text


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2].lower(), 10)
    return int(text, base)


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        if key_node.tag == _TAG + "merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                None, None, "a key must be a word", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key} stands here twice", key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


_CoreLoader.add_constructor(_TAG + "str", _construct_text)
_CoreLoader.add_constructor(_TAG + "int", _construct_int)
_CoreLoader.add_constructor(_TAG + "map", _construct_mapping)


def read_yaml(path: Path) -> dict[str, object]:
    """Read a YAML file that holds a mapping; an empty file is an empty one.

    Raises:
        InputError: the file is missing, is not YAML, says a key twice, or holds something else;
            with the line.
    """
    document = load_yaml(path)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InputError(f"{path}, line 1: expected `key: value` lines")
    return {str(key): value for key, value in document.items()}


def load_yaml(path: Path) -> object:
    """Read a YAML file, whatever it holds; None for an empty one.

    Raises:
        InputError: the file is missing, is not YAML, or says a key twice; with the line.
    """
    try:
        loader = _CoreLoader(_read_text(path))
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_many_values(node, path)
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        raise InputError(f"{path} is not a text file", _NO_TEXT_HINT) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(
            f"{path}, line {line}: {error.problem or 'not YAML'}",
            "in YAML each line is `key: value`; a text with other signs goes in 'quotes'",
        ) from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply to be read") from error


def _read_text(path: Path) -> str:
    """UTF-8, or UTF-16 as PowerShell writes it."""
    try:
        content = path.read_bytes()
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"the file {path} does not exist") from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a text file", _NO_TEXT_HINT) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _refuse_many_values(document: yaml.Node, path: Path) -> None:
    """Refuse a few lines of aliases that stand for millions of values."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 1  # for itself, where it is one of its own parts
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            pairs = isinstance(node, yaml.MappingNode)
            flat = [part for pair in parts for part in pair] if pairs else parts
            sizes[id(node)] += sum(map(size, flat))
        return sizes[id(node)]

    if size(document) > MOST_VALUES:
        raise InputError(f"{path}: its aliases stand for too many values", "write them out")
