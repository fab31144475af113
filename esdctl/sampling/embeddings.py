"""What the denoiser is told of a plan's prompts, each encoded once."""

from collections import Counter
from collections.abc import Mapping, Sequence

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import encode_prompts
from esdctl.sampling.plan import Picture


class PromptEmbeddings:
    """Embeddings of prompts, encoded when first needed and kept until their last picture.

    Args:
        model: gives tokenizers and text encoders.
        prompts: one for each picture that will be asked for.
        known: prompt -> one row that stands in its place; where the empty prompt and all others
            are known, no text encoder is needed.
    """

    def __init__(
        self,
        model: StableDiffusion,
        prompts: Sequence[str],
        known: Mapping[str, Conditioning],
    ) -> None:
        self._model = model
        self._pending = Counter(prompts)
        self._known = dict(known)  # prompt -> one row
        self.empty = known[""] if "" in known else encode_prompts(model, [""])  # one row

    def __call__(self, pictures: Sequence[Picture]) -> Conditioning:
        """A row a picture."""
        prompts = [picture.prompt for picture in pictures]
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if new:
            self._known.update(zip(new, encode_prompts(self._model, new), strict=True))
        stacked = concatenate([self._known[prompt] for prompt in prompts])
        self._pending.subtract(prompts)
        for prompt in set(prompts):
            if self._pending[prompt] <= 0:
                del self._known[prompt]
        return stacked
