"""Pictures within the page: WebP of a bounded size, as data addresses."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

SIDE = 512  # pixels; a longer side is shrunk to it
QUALITY = 84  # of WebP, 0 to 100
LARGEST = 96 * 1024  # bytes of one picture
MOST_PIXELS = 64 * 1024**2  # of a file that is read

Box = tuple[int, int, int, int]  # left, upper, right, lower


@dataclass(frozen=True)
class Crop:
    """A picture file, or a part of one."""

    path: Path
    box: Box | None = None


@dataclass(frozen=True)
class Embedded:
    """A picture as the page has it.

    Args:
        address: the ``data:`` address; "" where the file could not be read.
        width, height: in pixels.
        problem: why there is no picture; "" where there is one.
    """

    address: str
    width: int = 0
    height: int = 0
    problem: str = ""


@dataclass
class Embedder:
    """Embeds pictures and counts them.

    Args:
        count, size: pictures and bytes so far.
        unread: files that could not be read.
    """

    count: int = 0
    size: int = 0
    unread: list[str] = field(default_factory=list)

    def embed(self, crop: Crop) -> Embedded:
        """A picture as a data address; one that cannot be read says why."""
        try:
            with Image.open(crop.path) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
                pixels = picture.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
            self.unread.append(crop.path.name)
            return Embedded("", problem=f"{crop.path.name} cannot be shown: {reason}")
        if crop.box is not None:
            pixels = pixels.crop(crop.box)
        pixels.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        content = _bounded(pixels)
        self.count += 1
        self.size += len(content)
        address = "data:image/webp;base64," + base64.b64encode(content).decode()
        return Embedded(address, *pixels.size)


def _bounded(pixels: Image.Image) -> bytes:
    """WebP of at most ``LARGEST`` bytes: less quality first, then fewer pixels."""
    quality = QUALITY
    while True:
        content = io.BytesIO()
        pixels.save(content, format="WEBP", quality=quality, method=4)
        if content.tell() <= LARGEST:
            return content.getvalue()
        if quality > 50:
            quality -= 17
        else:
            pixels = pixels.resize((pixels.width * 3 // 4, pixels.height * 3 // 4))
