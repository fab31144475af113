"""diffusers and transformers keep to what they are asked for: no bars, no advice on stderr."""

from diffusers.utils import logging as of_diffusers
from transformers.utils import logging as of_transformers


def quiet_libraries() -> None:
    """Let both tell errors alone; call it before a pipeline's class is imported."""
    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
