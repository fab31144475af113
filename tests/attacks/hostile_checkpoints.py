"""Every hostile checkpoint, by what it abuses."""

from tests.attacks.hostile_files import FILES
from tests.attacks.hostile_pickles import PICKLES
from tests.attacks.hostile_safetensors import SAFETENSORS
from tests.attacks.hostile_tensors import TENSORS

EVERY = (*PICKLES, *TENSORS, *FILES, *SAFETENSORS)
# What only the values tell, which are not read by peeking.
IN_THE_VALUES = (
    "NaN", "infinity", "negative infinity in half", "NaN in bfloat16", "truth value 7",
    "NaN in safetensors", "infinity in safetensors", "NaN in float8",
    "infinity in a complex number", "damaged storage",
)  # fmt: skip
