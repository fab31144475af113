"""Writes safetensors a tensor at a time, so that memory holds one tensor and never the file.

The format: the header's length (64 bits, little-endian), the header as JSON padded by spaces to a
multiple of 8, then the tensors' bytes one behind another. ``safetensors.torch.save_file`` wants all
tensors in memory at once.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from esdctl.checkpoints.safetensors.reading import METADATA
from esdctl.checkpoints.tensor_info import TensorInfo


def write_safetensors(
    path: Path,
    infos: Mapping[str, TensorInfo],
    chunks: Iterable[bytes],
    metadata: Mapping[str, str],
) -> None:
    """Write one file, at ``path`` itself; for use inside ``storage.atomic.write_with``.

    Args:
        path: the file.
        infos: every tensor. Those of larger elements should come first, so that all are aligned.
        chunks: the tensors' bytes in that order, in pieces of any size.
        metadata: texts.

    Raises:
        OSError: the disk.
    """
    header: dict[str, object] = {METADATA: dict(sorted(metadata.items()))}
    end = 0
    for name, info in infos.items():
        first, end = end, end + info.bytes
        entry = {"dtype": info.dtype, "shape": info.shape, "data_offsets": [first, end]}
        header[name] = entry
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for chunk in chunks:
            file.write(chunk)
