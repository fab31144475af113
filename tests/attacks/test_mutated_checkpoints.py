"""Mutated checkpoints: whatever bytes change, the file is read or refused, and nothing else."""

import io
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from esdctl.checkpoints.tensor_file import open_tensors
from esdctl.errors import EsdctlError

WEIGHTS = {"a": torch.ones(2, 3), "b": torch.ones(4).half(), "c": torch.arange(3)}
MUTANTS = 150  # of each form


def _saved(*, is_zip: bool) -> bytes:
    packed = io.BytesIO()
    content = {"state_dict": WEIGHTS, "global_step": 7, "callbacks": {"path": Path("a")}}
    torch.save(content, packed, _use_new_zipfile_serialization=is_zip)
    return packed.getvalue()


FORMS = {
    "zip": _saved(is_zip=True),
    "legacy": _saved(is_zip=False),
    "safetensors": save(WEIGHTS, {"about": "a test"}),
}


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Change a few bytes, cut the file, or move a piece of it elsewhere."""
    mutant = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(mutant))
        kind = draw.randrange(4)
        if kind == 0:
            mutant[place] = draw.randrange(256)
        elif kind == 1:
            mutant[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            piece = mutant[place : place + draw.randint(1, 40)]
            target = draw.randrange(len(mutant))
            mutant[target : target + len(piece)] = piece
        elif draw.random() < 0.2:
            del mutant[place + 1 :]
    return bytes(mutant)


@pytest.mark.parametrize("form", FORMS)
def test_a_mutant_is_read_or_refused(form: str, tmp_path: Path) -> None:
    draw = random.Random(form)
    messages = []
    for number in range(MUTANTS):
        path = tmp_path / f"{number}.ckpt"
        path.write_bytes(mutate(FORMS[form], draw))
        try:
            opened = open_tensors(path)
            for name in opened.infos:
                opened.read(name)
        except EsdctlError as error:
            messages.append(error.message)
    assert messages
    assert all(message.isprintable() for message in messages)
