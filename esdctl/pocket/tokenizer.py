"""CLIP's own tokenizer, built from its published merges (MIT; see ``weights/LICENSES.md``)."""

import gzip
import json
from pathlib import Path

from transformers import CLIPTokenizer

MAX_TOKENS = 77
LAST_MERGE = 48_894  # lines 1 to 48,894 of the merges file belong to CLIP's vocabulary


def save_tokenizer(merges_file: Path, folder: Path) -> None:
    """Write the tokenizer in the diffusers layout.

    Args:
        merges_file: ``bpe_simple_vocab_16e6.txt.gz`` (in the open_clip_torch wheel).
        folder: where ``tokenizer_config.json``, ``vocab.json`` and ``merges.txt`` go.
    """
    lines = gzip.decompress(merges_file.read_bytes()).decode("utf-8").split("\n")
    merges = lines[1 : LAST_MERGE + 1]
    symbols = list(_byte_symbols())
    vocabulary = symbols + [symbol + "</w>" for symbol in symbols]
    vocabulary += [merge.replace(" ", "") for merge in merges]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    indices = {token: index for index, token in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(indices, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8"
    )
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    CLIPTokenizer.from_pretrained(folder)  # a bad file fails here, not at the first user's


def _byte_symbols() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(hidden))]
