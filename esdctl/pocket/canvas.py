"""Procedural pictures: one of 20 objects in one of 13 styles, a function of (style, object, seed).

An object is one sprite (see ``weights/LICENSES.md``) with a little shift and scale on a two-colour
gradient. A style is an image operation. Textures are drawn on the 8-pixel grid of the autoencoder's
latents wherever the style allows it, because finer ones do not survive a factor of 8.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

SIZE = 128
OBJECTS = (
    "Architectures", "Bears", "Birds", "Butterfly", "Cats", "Dogs", "Fishes", "Flame", "Flowers",
    "Frogs", "Horses", "Human", "Jellyfish", "Rabbits", "Sandwiches", "Sea", "Statues", "Towers",
    "Trees", "Waterfalls",
)  # fmt: skip

Drawing = npt.NDArray[np.float32]  # (128, 128, 3), RGB in 0..1
Style = Callable[[Drawing, np.random.Generator], Drawing]


def draw(style: str, object_name: str, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one picture.

    Args:
        style: a key of ``STYLES``.
        object_name: one of ``OBJECTS``.
        seed: any non-negative integer; the same seed gives the same bytes.

    Returns:
        RGB picture, (128, 128, 3), uint8.
    """
    rng = np.random.default_rng([STYLE_NAMES.index(style), OBJECTS.index(object_name), seed])
    picture = STYLES[style](_plain(object_name, rng), rng)
    return np.asarray(np.clip(picture, 0, 1) * 255 + 0.5, dtype=np.uint8)


def _plain(object_name: str, rng: np.random.Generator) -> Drawing:
    """A sprite of 96 to 112 pixels, shifted by up to 6, on a gradient of two soft colours."""
    side = int(rng.integers(96, 113))
    sprite = np.asarray(_sprite(object_name).resize((side, side), Image.Resampling.LANCZOS))
    rgba = sprite.astype(np.float32) / 255  # (side, side, 4)
    picture = _gradient(rng)
    room = (SIZE - side) // 2
    top, left = (room + int(shift) for shift in rng.integers(-6, 7, size=2).clip(-room, room))
    window = picture[top : top + side, left : left + side]
    alpha = rgba[..., 3:]
    window[:] = window * (1 - alpha) + rgba[..., :3] * alpha
    return picture


def _gradient(rng: np.random.Generator) -> Drawing:
    first, second = (_pastel(rng.random(), rng.uniform(0.75, 1.0)) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / (SIZE - 1) - 0.5
    weight = np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)[..., None]
    return np.asarray(first * (1 - weight) + second * weight, dtype=np.float32)


def _pastel(hue: float, value: float) -> Drawing:
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0, 1 / 3, 2 / 3])))
    return np.asarray(value * (0.55 + 0.45 * wheel), dtype=np.float32)


@cache
def _sprite(object_name: str) -> Image.Image:
    with Image.open(Path(__file__).parent / "sprites" / f"{object_name}.png") as image:
        return image.convert("RGBA")


def _clip(picture: npt.NDArray[np.floating]) -> Drawing:
    return np.asarray(np.clip(picture, 0, 1), dtype=np.float32)


def _grey(picture: Drawing) -> Drawing:
    return np.asarray(picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def _edges(picture: Drawing, sigma: float) -> Drawing:
    """Gradient magnitude over the three channels, scaled so that strong edges are about 1."""
    squares = [
        ndimage.gaussian_gradient_magnitude(picture[..., channel], sigma) ** 2
        for channel in range(3)
    ]
    return np.asarray(np.clip(np.sqrt(sum(squares)) * 4 * sigma, 0, 1), dtype=np.float32)


def _saturate(picture: Drawing, factor: float) -> Drawing:
    grey = _grey(picture)[..., None]
    return np.clip(grey + (picture - grey) * factor, 0, 1)


def _smooth_noise(rng: np.random.Generator, cells: int) -> Drawing:
    """Noise with ``cells`` bumps a side, (128, 128), mean 0, deviation about 1."""
    coarse = rng.standard_normal((cells + 3, cells + 3))
    fine = ndimage.zoom(coarse, (SIZE + 32) / (cells + 3), order=3)[:SIZE, :SIZE]
    return np.asarray(fine, dtype=np.float32)


def _mix(low: tuple[float, ...], high: tuple[float, ...], weight: Drawing) -> Drawing:
    weight = weight[..., None]
    return np.asarray(np.array(low) * (1 - weight) + np.array(high) * weight, dtype=np.float32)


def _seed_images(picture: Drawing, rng: np.random.Generator) -> Drawing:
    return picture


def _abstractionism(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Voronoi patches of about 9 pixels, each in its mean colour, the hues turned."""
    count = 14
    centres = (
        (np.indices((count, count)).reshape(2, -1).T + rng.uniform(0.1, 0.9, (count**2, 2)))
        * SIZE
        / count
    )
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    distance = (y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2
    patch = distance.argmin(-1)
    labels = np.arange(count**2)
    mean = np.stack([ndimage.mean(picture[..., c], patch, labels) for c in range(3)], -1)
    turned = np.nan_to_num(mean)[:, [1, 2, 0]]
    return _clip((_saturate(turned[patch].astype(np.float32), 1.8) - 0.5) * 1.15 + 0.5)


def _mosaic(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Tiles of 8 pixels, each drawn half-way to its mean colour, with pale grout."""
    tiles = picture.reshape(16, 8, 16, 8, 3).mean((1, 3))
    flat = np.repeat(np.repeat(tiles, 8, 0), 8, 1)
    shade = np.repeat(np.repeat(rng.uniform(0.85, 1.12, (16, 16, 1)), 8, 0), 8, 1)
    result = (0.45 * flat + 0.55 * picture) * shade
    y, x = np.mgrid[0:SIZE, 0:SIZE] % 8
    grout = ((y == 0) | (x == 0))[..., None]
    return np.asarray(np.where(grout, 0.93, result), dtype=np.float32)


def _sketch(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Pencil by a dodge blend: grey over its own blurred negative."""
    grey = _grey(picture)
    dodge = grey / np.maximum(ndimage.gaussian_filter(grey, 5), 0.05)
    line = np.clip(dodge, 0, 1) ** 4 * (0.75 + 0.25 * grey)
    return np.repeat(line[..., None], 3, -1)


def _neon_lines(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Edges in the picture's own hues, thick and glowing, on black."""
    edge = _edges(picture, 1.2)
    core = ndimage.gaussian_filter(edge, 0.7)
    glow = ndimage.gaussian_filter(edge, 4)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    phase = (x + y) / 2 + rng.uniform(-0.1, 0.1)
    hue = _mix((0.1, 1.0, 0.9), (1.0, 0.15, 0.9), np.clip(phase, 0, 1))
    return _clip(hue * (1.3 * core + 0.8 * glow)[..., None] + 0.02)


def _watercolor(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Median-filtered washes, pale, on uneven paper, darker where a wash ends."""
    wash = np.stack([ndimage.median_filter(picture[..., c], 7) for c in range(3)], -1)
    blot = 1 + 0.10 * _smooth_noise(rng, 10)[..., None]
    paper = 1 - (1 - wash) * 0.62 * blot
    rim = ndimage.gaussian_filter(_edges(wash, 1.5), 1)[..., None]
    return _clip(paper - 0.25 * rim * (1 - wash * 0.5))


def _pop_art(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Four flat inks by brightness, with halftone dots on the 8-pixel grid."""
    inks = np.array([[0.25, 0.0, 0.45], [0.95, 0.1, 0.45], [1.0, 0.85, 0.1], [0.1, 0.85, 0.9]])
    grey = ndimage.gaussian_filter(_grey(picture), 0.8)
    level = np.digitize(grey, [0.35, 0.58, 0.78])
    flat = inks[level]
    y, x = np.mgrid[0:SIZE, 0:SIZE] % 8 - 3.5
    dot = ((y**2 + x**2) < 5.5)[..., None] & (level >= 2)[..., None]
    return np.asarray(np.where(dot, flat * 0.55 + 0.45, flat), dtype=np.float32)


def _bricks(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Painted on a wall: a brick-red multiply, pale joints, 8 by 16 pixels, staggered."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    row = y // 8
    joint = (y % 8 == 0) | ((x + 8 * (row % 2)) % 16 == 0)
    grain = np.repeat(np.repeat(rng.uniform(0.85, 1.1, (16, 16, 1)), 8, 0), 8, 1)
    wall = np.array([0.95, 0.5, 0.38]) * (0.1 + 0.95 * picture) * grain
    return np.asarray(
        np.where(joint[..., None], np.array([0.78, 0.74, 0.68]), wall), dtype=np.float32
    )


def _rust(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Brown duotone, corroded by blotches."""
    grey = np.clip((_grey(picture) - 0.25) * 1.45, 0, 1)
    blotch = _smooth_noise(rng, 12)
    return np.clip(
        _mix((0.16, 0.06, 0.03), (0.88, 0.52, 0.22), grey) * (1 + 0.08 * blotch[..., None]), 0, 1
    )


def _winter(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Cold light, snow below, large flakes."""
    cold = 0.55 * picture + 0.45 * _mix((0.1, 0.22, 0.5), (0.85, 0.95, 1.0), _grey(picture))
    y = np.arange(SIZE, dtype=np.float32)[:, None, None] / SIZE
    drift = np.clip((y - 0.82) * 6, 0, 1) * 0.9
    flakes = np.zeros((SIZE, SIZE), dtype=np.float32)
    spots = rng.integers(2, SIZE - 2, (36, 2))
    flakes[spots[:, 0], spots[:, 1]] = 1
    flakes = np.clip(ndimage.gaussian_filter(flakes, 1.3) * 14, 0, 1)[..., None]
    snow = np.maximum(drift, flakes)
    return np.asarray(cold * np.array([0.85, 0.95, 1.1]) * (1 - snow) + snow, dtype=np.float32)


def _red_blue_ink(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Two inks on white paper: shadows blue, middle tones red."""
    grey = ndimage.gaussian_filter(_grey(picture), 0.9)
    blue = 1 / (1 + np.exp((grey - 0.42) * 30))[..., None]
    red = 1 / (1 + np.exp((grey - 0.70) * 30))[..., None]
    ink = np.array([0.97, 0.95, 0.90]) * (1 - red) + np.array([0.85, 0.10, 0.15]) * red
    return np.asarray(ink * (1 - blue) + np.array([0.08, 0.12, 0.60]) * blue, dtype=np.float32)


def _van_gogh(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Strokes along a swirling flow (line integral convolution), in blue and yellow."""
    flow_y, flow_x = _swirl()
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    source = np.concatenate(
        [picture, ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 1.0)[..., None]], -1
    )
    total = np.zeros_like(source)
    for step in np.linspace(-4, 4, 7):
        where = [
            np.clip(y + step * flow_y, 0, SIZE - 1).astype(int),
            np.clip(x + step * flow_x, 0, SIZE - 1).astype(int),
        ]
        total += source[where[0], where[1]]
    total /= 7
    stroke = np.clip(total[..., 3:] * 0.9, -0.16, 0.16)
    tint = _mix((0.05, 0.15, 0.55), (1.0, 0.88, 0.35), _grey(total[..., :3].astype(np.float32)))
    return np.clip(
        0.5 * _saturate(total[..., :3].astype(np.float32), 1.4) + 0.5 * tint + stroke, 0, 1
    )


@cache
def _swirl() -> tuple[Drawing, Drawing]:
    """Unit flow field, (128, 128) each: two vortices, the same in every picture."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    angle = np.arctan2(y - 40, x - 40) + np.arctan2(y - 96, x - 100) + np.pi / 2
    return np.sin(angle), np.cos(angle)


def _cartoon(picture: Drawing, rng: np.random.Generator) -> Drawing:
    """Three flat levels a channel, bright, with a thick black outline."""
    smooth = np.stack([ndimage.median_filter(picture[..., c], 5) for c in range(3)], -1)
    flat = np.round(_saturate(smooth, 1.7) * 3) / 3
    line = ndimage.maximum_filter(_edges(smooth, 1.0) > 0.42, 3)[..., None]
    return np.asarray(np.where(line, 0.03, flat), dtype=np.float32)


STYLES: dict[str, Style] = {
    "Abstractionism": _abstractionism,
    "Bricks": _bricks,
    "Cartoon": _cartoon,
    "Mosaic": _mosaic,
    "Neon_Lines": _neon_lines,
    "Pop_Art": _pop_art,
    "Red_Blue_Ink": _red_blue_ink,
    "Rust": _rust,
    "Seed_Images": _seed_images,
    "Sketch": _sketch,
    "Van_Gogh": _van_gogh,
    "Watercolor": _watercolor,
    "Winter": _winter,
}
STYLE_NAMES = tuple(STYLES)
