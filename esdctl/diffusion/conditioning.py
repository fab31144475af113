"""What a denoiser is told of a prompt: its tokens; some also prompt and picture as a whole."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Encoded:
    """What one text encoder makes of B prompts.

    Args:
        hidden: of their tokens, (B, T, D).
        pooled: of the prompts as a whole, (B, P); None where nothing asks for it.
    """

    hidden: torch.Tensor
    pooled: torch.Tensor | None = None


@dataclass(frozen=True)
class Conditioning:
    """The conditions of B predictions, one a row.

    Args:
        embeddings: of the prompts' tokens, (B, T, D).
        pooled: of the prompts as a whole, (B, P); None in SD 1.x and 2.x.
        time_ids: height and width before cropping, top and left of the crop, height and width of
            the picture, in pixels, (B, 6); None but in SDXL (Podell et al. 2023, section 2.2).
        guidance: how closely to follow the prompt, (B,); only of networks that were distilled to
            take the scale of guidance as an input.
    """

    embeddings: torch.Tensor
    pooled: torch.Tensor | None = None
    time_ids: torch.Tensor | None = None
    guidance: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, index: int) -> "Conditioning":
        """One row, as a batch of one."""
        row = range(len(self))[index]
        return self._each(lambda tensor: tensor[row : row + 1])

    def __iter__(self) -> Iterator["Conditioning"]:
        return (self[index] for index in range(len(self)))

    def expand(self, count: int) -> "Conditioning":
        """A single row ``count`` times, without a copy."""
        return self._each(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def to(self, device: torch.device) -> "Conditioning":
        """The same on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def for_size(self, height: int, width: int) -> "Conditioning":
        """The same for pictures of another size, in pixels; they are uncropped."""
        if self.time_ids is None:
            return self
        ids = torch.tensor([height, width, 0, 0, height, width], dtype=self.time_ids.dtype)
        return replace(self, time_ids=ids.to(self.time_ids.device).expand(len(self), 6))

    def with_guidance(self, scale: float) -> "Conditioning":
        """The same of another scale of guidance, for networks that take it as an input."""
        assert self.guidance is not None
        return replace(self, guidance=torch.full_like(self.guidance, scale))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Conditioning":
        return Conditioning(
            change(self.embeddings),
            None if self.pooled is None else change(self.pooled),
            None if self.time_ids is None else change(self.time_ids),
            None if self.guidance is None else change(self.guidance),
        )


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """The rows of all parts, in their order; the parts are of one model."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    time_ids = [part.time_ids for part in parts if part.time_ids is not None]
    guidance = [part.guidance for part in parts if part.guidance is not None]
    return Conditioning(
        torch.cat([part.embeddings for part in parts]),
        torch.cat(pooled) if pooled else None,
        torch.cat(time_ids) if time_ids else None,
        torch.cat(guidance) if guidance else None,
    )
