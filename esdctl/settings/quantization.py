"""In what frozen weights may be kept; ``models.quantization`` does it. Loads no torch."""

from typing import Literal

Quantization = Literal["int8", "nf4"]
