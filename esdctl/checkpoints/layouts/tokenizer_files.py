"""The tokenizers of a model on disk, and whether their tokens are those of the text encoders."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.part_shapes import END
from esdctl.errors import InputError
from esdctl.models.families.family import Config, TextEncoder

# CLIP's vocabulary, the same in every Stable Diffusion, lies in the embedded model. What fills a
# prompt up differs: OpenAI's CLIP takes the end mark, OpenCLIP token 0, which is "!".
_PACKAGE = Path(__file__).parents[2]
_CLIP = _PACKAGE / "pocket" / "weights" / "tokenizer"
_OPEN_CLIP_CONFIG = _PACKAGE / "models" / "assets" / "open_clip" / "tokenizer_config.json"

_END = "<|endoftext|>"
_LARGEST_MEANS_END = 2  # eos_token_id of older configs: the end is the largest number of a prompt
_MERGES = 48_894  # and a line that names the version
_VECTOR = re.compile(r"(.+)_\d+")  # diffusers' names for the further vectors of one token


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer on disk.

    Args:
        folder: what ``CLIPTokenizer.from_pretrained`` reads.
        padding: the token that fills a prompt up; None leaves it to the folder.
        files: file name -> file, for a copy that needs no ``padding``.
    """

    folder: Path
    padding: str | None
    files: Mapping[str, Path]


def clip_tokenizers(architecture: Architecture) -> tuple[TokenizerFiles, ...]:
    """The tokenizers of a checkpoint, which carries none: CLIP's, each with its padding."""
    return tuple(map(clip_tokenizer, architecture.encoders))


def clip_tokenizer(encoder: TextEncoder) -> TokenizerFiles:
    """CLIP's, which ships with us, with what fills a prompt up for a text encoder."""
    files = {path.name: path for path in sorted(_CLIP.iterdir())}
    if encoder.padding is None:
        return TokenizerFiles(_CLIP, None, files)
    return TokenizerFiles(_CLIP, "!", {**files, _OPEN_CLIP_CONFIG.name: _OPEN_CLIP_CONFIG})


def folder_tokenizers(folder: Path, architecture: Architecture) -> tuple[TokenizerFiles, ...]:
    """The tokenizers of a pipeline folder, one for each text encoder.

    Raises:
        InputError: one is missing or damaged, or its tokens are not those of its text encoder.
    """
    encoders = architecture.encoders
    return tuple(
        folder_tokenizer(folder, each, architecture.config(each.part)) for each in encoders
    )


def folder_tokenizer(folder: Path, encoder: TextEncoder, config: Config) -> TokenizerFiles:
    """The tokenizer of one text encoder of a pipeline folder.

    Raises:
        InputError: as for ``folder_tokenizers``.
    """
    place = folder / encoder.tokenizer
    files = {path.name: path for path in sorted(place.glob("*")) if path.is_file()}
    if not files.keys() & {"vocab.json", "tokenizer.json"}:
        raise InputError(
            f"the model in {folder} lacks {encoder.tokenizer}/vocab.json",
            "download or unpack it again",
        )
    vocabulary = _vocabulary(files)
    _check_merges(files, vocabulary)
    _check_rows(place, vocabulary, encoder, config)
    if encoder.kind == "clip":
        _compare(place, vocabulary, encoder, config)
    if encoder.kind == "chat":
        _check_template(files)
    return TokenizerFiles(place, None, files)


def _vocabulary(files: Mapping[str, Path]) -> dict[str, int]:
    """Each token's number, added ones included."""
    known: dict[str, int] = {}
    try:
        if "vocab.json" in files:
            known |= _load(files["vocab.json"])
        if "tokenizer.json" in files:
            whole = _load(files["tokenizer.json"])
            known |= whole["model"]["vocab"]
            known |= {token["content"]: token["id"] for token in whole.get("added_tokens", ())}
        if "added_tokens.json" in files:
            known |= _load(files["added_tokens.json"])
        if "tokenizer_config.json" in files:
            added = _load(files["tokenizer_config.json"]).get("added_tokens_decoder", {})
            known |= {token["content"]: int(number) for number, token in added.items()}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        folder = next(iter(files.values())).parent
        raise InputError(
            f"the tokenizer in {folder} is damaged: {error}", "get it again"
        ) from error
    return known


def _check_merges(files: Mapping[str, Path], vocabulary: Mapping[str, int]) -> None:
    """Without all merges every word falls into pieces that no encoder was trained on."""
    if "tokenizer.json" in files:
        return
    folder = files["vocab.json"].parent
    if "merges.txt" not in files:
        raise InputError(f"the tokenizer in {folder} lacks merges.txt", "get the model again")
    count = len(files["merges.txt"].read_text(encoding="utf-8", errors="replace").splitlines())
    if vocabulary.get(_END) == END and count < _MERGES:
        raise InputError(
            f"{files['merges.txt']} holds {count} lines, and CLIP's {_MERGES}",
            "it is not complete; get it again",
        )


def _load(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is no JSON object")
    return content


def _check_template(files: Mapping[str, Path]) -> None:
    """A chat model's template turns a prompt into what the model was trained to read."""
    says = "tokenizer_config.json" in files and _load(files["tokenizer_config.json"])
    if "chat_template.jinja" not in files and not (says and says.get("chat_template")):
        folder = next(iter(files.values())).parent
        raise InputError(f"the tokenizer in {folder} lacks its chat template", "get it again")


def _check_rows(
    place: Path, vocabulary: Mapping[str, int], encoder: TextEncoder, config: Config
) -> None:
    """Every token needs an embedding."""
    rows = int(config.get("vocab_size", 0))
    highest = max(vocabulary.values(), default=0)
    if rows and highest >= rows:
        beyond = [token for token, number in vocabulary.items() if number >= rows]
        raise InputError(
            f"the tokenizer in {place} knows {len(beyond)} tokens more than the {encoder.part} has "
            f"embeddings ({rows}): {', '.join(sorted(beyond)[:10])}",
            "the two belong to different models; get both from one",
        )


def _compare(
    place: Path, vocabulary: Mapping[str, int], encoder: TextEncoder, config: Config
) -> None:
    """CLIP looks for the end of a text, and takes one vector a token."""
    end, its = config.get("eos_token_id"), vocabulary.get(_END)
    if None not in (end, its) and end not in (its, _LARGEST_MEANS_END):
        raise InputError(
            f"{place}: a text ends with token {its}, and the {encoder.part} looks for {end}",
            f"correct eos_token_id in {encoder.part}/config.json, or get the model again",
        )
    several = sorted(_of_several_vectors(vocabulary, end=its or 0))
    if several:
        raise InputError(
            f"{place} has tokens of several vectors: {', '.join(several[:10])}",
            "this version takes textual inversions of one vector; use the model without them",
        )


def _of_several_vectors(vocabulary: Mapping[str, int], end: int) -> Iterable[str]:
    added = {token for token, number in vocabulary.items() if number > end}
    return {
        found[1] for token in added if (found := _VECTOR.fullmatch(token)) and found[1] in added
    }
