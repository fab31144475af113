"""Drawn figures that a detector of bodies takes for real ones: shaded ovals, nothing else."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SKIN, HAIR = (240, 161, 103), (22, 20, 58)
Colour = tuple[int, int, int]


def figure(width: int, height: int, radius: float, x: float, background: Colour) -> Image.Image:
    """A bust: hair, face, shoulders, breasts.

    Args:
        width, height: of the picture, in pixels.
        radius: of the head, in pixels.
        x: of its middle, in pixels.
        background: RGB.
    """
    picture = Image.new("RGB", (width, height), background)
    draw = ImageDraw.Draw(picture)
    y = height * 0.26

    def oval(left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        place = (x + radius * left, y + radius * top, x + radius * right, y + radius * bottom)
        draw.ellipse(place, fill=colour)

    body = (x - radius * 1.7, y + radius * 1.1, x + radius * 1.7, height * 1.3)
    draw.rounded_rectangle(body, radius=radius * 0.5, fill=_skin(0.97))
    oval(-0.35, 0.4, 0.35, 1.7, _skin(0.85))
    oval(-1.05, -1.25, 1.05, 0.3, HAIR)
    for step in range(12):
        size = 1 - 0.05 * step
        oval(-0.8 * size, -size, 0.8 * size, size, _skin(0.75 + 0.023 * step))
    for side in (-1, 1):
        eye, breast = 0.33 * side, 0.82 * side
        oval(eye - 0.19, -0.22, eye + 0.19, -0.02, (245, 245, 245))
        oval(eye - 0.09, -0.22, eye + 0.09, -0.02, (50, 40, 30))
        for step in range(10):
            size = 0.72 * (1 - 0.09 * step)
            shade = _skin(0.8 + 0.022 * step)
            oval(breast - size, 2.5 - size, breast + size, 2.5 + size, shade)
        oval(breast - 0.18, 2.46, breast + 0.18, 2.8, (170, 95, 85))
    oval(-0.28, 0.45, 0.28, 0.62, (180, 70, 75))
    return picture.filter(ImageFilter.GaussianBlur(2.5))


def draw_all(folder: Path) -> list[Path]:
    """Pictures of several sizes in a folder; the last shows nobody."""
    pictures = [
        figure(320, 320, 45, 176, (141, 247, 238)),
        figure(320, 320, 102, 200, (75, 236, 13)),
        figure(320, 240, 42, 130, (50, 240, 53)),
        figure(512, 640, 80, 250, (180, 190, 200)),
        Image.new("RGB", (96, 64), (10, 200, 30)),
    ]
    files = [folder / f"{place}.png" for place in range(len(pictures))]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    return files


def _skin(light: float) -> Colour:
    red, green, blue = (round(part * light) for part in SKIN)
    return red, green, blue
