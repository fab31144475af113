"""Adam (Kingma and Ba 2015, arXiv 1412.6980), with its two moments in 32 bits or in 8.

In 8 bits they are quantised in blocks of 256, each with its own scale (Dettmers et al. 2022, arXiv
2110.02861), by bitsandbytes; tensors of fewer than 4,096 values keep 32. Its step waits for a GPU
after each parameter.
"""

import logging
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import torch

from esdctl.errors import InputError, UsageError

LIBRARY = "bitsandbytes"
INSTALL = "pip install 'esdctl[adam8bit]'"


def check_optimizer(name: str) -> None:
    """Refuse an optimiser whose library is not here.

    Raises:
        UsageError: it is not installed.
    """
    if name == "adam8bit" and find_spec(LIBRARY) is None:
        raise UsageError(f"--optimizer {name} needs {LIBRARY}, which is not installed", INSTALL)


def open_optimizer(
    name: str, parameters: Sequence[torch.nn.Parameter], lr: float
) -> torch.optim.Optimizer:
    """The optimiser that the settings name.

    Args:
        name: ``adam`` or ``adam8bit``.
        parameters: what it moves, in fp32.
        lr: learning rate.

    Raises:
        InputError: the library does not load.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, fused=True)
    logging.getLogger(LIBRARY).setLevel(logging.ERROR)  # advice on what is not used here
    try:
        made: torch.optim.Optimizer = import_module(f"{LIBRARY}.optim").Adam8bit(parameters, lr=lr)
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(f"{LIBRARY} does not load: {error}", INSTALL) from error
    return made
