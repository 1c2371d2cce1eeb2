"""Simulated things as sharp as pixels can be: patterns, print, wires, phases, leaves, texture.

Real images of spheres and alloys have edges of three pixels. A network that was trained on nothing
sharper takes one of a single pixel, or a line of two, for noise. Values lie in [0, 1].
"""

from __future__ import annotations

import math
import string

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from .content import Layer, begun, log_uniform, power_law_texture

__all__ = ['KINDS', 'make_sharp']

# Sub-pixels a side of shapes that are drawn at any place.
FINE = 4
# Widest blur, deviation in pixels; half of the pictures have none.
BLUR = 0.6
# Dead leaves a picture.
LEAVES = 20_000
# Share of pictures of repeated things that show them in parts only.
PARTLY = 0.5


def _parts(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size) int: a few areas with straight or round borders, numbered from 0."""
    owner = np.zeros((size, size), np.uint8)
    for number in range(1, int(rng.integers(2, 6))):
        if rng.uniform() < 0.5:
            corners = rng.integers(0, size, (int(rng.integers(3, 6)), 2)).astype(np.int32)
            cv2.fillPoly(owner, [cv2.convexHull(corners)], number)
        else:
            centre = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.circle(owner, centre, int(rng.uniform(0.05, 0.4) * size), number, -1)
    return owner


def _composed(size: int, rng: np.random.Generator, layer: Layer) -> np.ndarray:
    """``layer(size, rng)`` all over, or other layers and even greys in parts of the picture."""
    if rng.uniform() > PARTLY:
        return layer(size, rng)
    owner = _parts(size, rng)
    image = np.empty((size, size))
    for number in range(int(owner.max()) + 1):
        area = owner == number
        if rng.uniform() < 0.6:
            image[area] = layer(size, rng)[area]
        else:
            image[area] = rng.uniform(0.1, 0.9)
    return image


def _levels(rng: np.random.Generator) -> tuple[float, float]:
    """Two grey levels, at least 0.1 apart."""
    low = rng.uniform(0.02, 0.8)
    return low, rng.uniform(low + 0.1, 0.98)


def _period(rng: np.random.Generator) -> float:
    """Pixels, evenly on a log scale."""
    return log_uniform(rng, 2.5, 28)


def _angle(rng: np.random.Generator) -> float:
    """Any, but upright and lying ones most of all."""
    straight = rng.uniform() < 0.6
    return float(rng.integers(2) * math.pi / 2 if straight else rng.uniform(0, math.pi))


def _lines(size: int, rng: np.random.Generator) -> np.ndarray:
    """A grating, of steps or of a wave, of one period or of slowly changing ones."""
    place = (np.arange(FINE * size) + 0.5) / FINE
    angle, period = _angle(rng), _period(rng)
    along = (math.sin(angle) * place[:, None] + math.cos(angle) * place).astype(np.float32)
    if rng.uniform() < 0.3:  # from one period to another
        along = along * (1 + rng.uniform(-0.3, 0.3) * along / size)
    phase = along / period + rng.uniform()
    low, high = _levels(rng)
    if rng.uniform() < 0.7:
        wave = (phase % 1 < rng.uniform(0.25, 0.75)).astype(np.float32)
    else:
        wave = 0.5 + 0.5 * np.cos(2 * math.pi * phase)
    wave = cv2.resize(wave, (size, size), interpolation=cv2.INTER_AREA)
    return low + (high - low) * wave


def _dots(size: int, rng: np.random.Generator) -> np.ndarray:
    """A lattice of dots, as of columns of atoms or of holes, some of them missing."""
    period = max(3.0, _period(rng))
    turn, skew = _angle(rng), rng.choice([math.pi / 2, math.pi / 3, rng.uniform(0.8, 1.6)])
    first = period * np.array([math.sin(turn), math.cos(turn)])
    ratio = rng.choice([1.0, rng.uniform(0.8, 1.6)])
    second = ratio * period * np.array([math.sin(turn + skew), math.cos(turn + skew)])
    count = int(2 * size / period) + 2
    grid = np.mgrid[-count : count + 1, -count : count + 1].reshape(2, -1).T
    dots = grid @ np.stack([first, second]) + size / 2 + rng.uniform(-3, 3, 2)
    dots = dots + rng.choice([0.0, rng.uniform(0, 0.08)]) * period * rng.standard_normal(dots.shape)
    dots = dots[((dots > -period) & (dots < size + period)).all(1)]
    dots = dots[rng.random(len(dots)) > rng.choice([0.0, rng.uniform(0, 0.2)])]
    low, high = _levels(rng)
    ground = np.zeros((FINE * size, FINE * size), np.float32)
    radius = max(1, round(FINE * period * rng.uniform(0.15, 0.4)))
    shade = rng.uniform(0.6, 1, len(dots)) if rng.uniform() < 0.3 else np.ones(len(dots))
    for (row, column), value in zip(np.rint(FINE * dots).astype(int).tolist(), shade.tolist()):
        cv2.circle(ground, (column, row), radius, value, -1)
    ground = cv2.resize(ground, (size, size), interpolation=cv2.INTER_AREA)
    if rng.uniform() < 0.5:  # round at the top
        ground = gaussian_filter(ground, radius / FINE / 2)
        ground /= max(float(ground.max()), 1e-6)
    low, high = (low, high) if rng.uniform() < 0.7 else (high, low)
    return low + (high - low) * ground


def _print(size: int, rng: np.random.Generator) -> np.ndarray:
    """Lines of letters and figures, of four pixels' height and more."""
    low, high = _levels(rng)
    ground, ink = (low, high) if rng.uniform() < 0.6 else (high, low)
    image = np.zeros((2 * size, 2 * size), np.uint8)  # the ink's share; letters need bytes
    letters = list(string.ascii_letters + string.digits + '.,:-+ ()/')
    row = 0.0
    while row < 2 * size:
        scale = rng.uniform(0.35, 1.6)
        row += 34 * scale * rng.uniform(0.9, 1.6)
        text = ''.join(rng.choice(letters, 60))
        face, bold = int(rng.choice([0, 1, 2, 3, 4, 16])), max(1, round(scale * rng.uniform(1, 3)))
        start = (int(rng.uniform(-200, 60)), int(row))
        cv2.putText(image, text, start, face, scale, 255, bold, cv2.LINE_AA)
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return ground + (ink - ground) * image / 255


def _wires(size: int, rng: np.random.Generator) -> np.ndarray:
    """Straight or bent lines of half a pixel to four, bright or dark, across one another."""
    image = np.full((FINE * size, FINE * size), rng.uniform(0.1, 0.9), np.float32)
    bent, dark = rng.choice([0.0, rng.uniform(0.02, 0.6)]), rng.uniform()
    widest = rng.uniform(1, 4)
    for _ in range(int(rng.uniform(6, 90))):
        at, angle = rng.uniform(-0.1, 1.1, 2) * FINE * size, rng.uniform(0, 2 * math.pi)
        points = [at]
        for _ in range(int(rng.uniform(4, 60))):
            angle += bent * rng.standard_normal()
            at = at + FINE * 6 * np.array([math.cos(angle), math.sin(angle)])
            points.append(at)
        shade = rng.uniform(0, 0.4) if rng.uniform() < dark else rng.uniform(0.6, 1)
        width = max(2, round(FINE * rng.uniform(0.5, widest)))
        cv2.polylines(image, [np.rint(points).astype(np.int32)], False, float(shade), width)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)


def _boxes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Rectangles, some with holes and combs, their edges on pixels; or the same turned."""
    image = np.full((size, size), rng.uniform(0.05, 0.6), np.float32)
    shades = rng.uniform(0.02, 0.98, int(rng.integers(2, 7)))
    for _ in range(int(rng.uniform(20, 150))):
        top, left = (int(v) for v in rng.integers(-8, size, 2))
        high, wide = (int(v) for v in np.exp(rng.uniform(0.7, 4.6, 2)))
        shade = float(rng.choice(shades))
        box = image[max(0, top) : top + high, max(0, left) : left + wide]
        box[:] = shade
        kind = rng.uniform()
        if kind < 0.15:  # a comb
            box[:, :: int(rng.integers(2, 12))] = rng.choice(shades)
        elif kind < 0.3:  # a frame
            rim = int(rng.integers(1, 5))
            box[rim:-rim, rim:-rim] = rng.choice(shades)
        elif kind < 0.4:  # holes
            pitch = int(rng.integers(4, 14))
            box[pitch // 2 :: pitch, pitch // 2 :: pitch] = rng.choice(shades)
    if rng.uniform() < 0.4:
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), float(rng.uniform(0, 360)), 1.42)
        image = cv2.warpAffine(image, turn, (size, size), borderMode=cv2.BORDER_REFLECT)
    return image.astype(np.float64)


def _holes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Two or three phases of even grey, their edges one pixel wide: a sponge, islands, holes."""
    width = log_uniform(rng, 1.2, 14)
    noise = rng.standard_normal((size, size))
    field = gaussian_filter(noise, width * rng.uniform(0.6, 1.6, 2), mode='wrap')
    field /= field.std()
    shares = np.sort(rng.uniform(-1.4, 1.4, int(rng.integers(1, 3))))
    greys = rng.uniform(0.03, 0.97, len(shares) + 1)
    return greys[np.searchsorted(shares, field)]


def _grain(size: int, rng: np.random.Generator) -> np.ndarray:
    """Random grain of one to three pixels, all over or in parts, on greys of larger shapes."""
    grain = gaussian_filter(rng.standard_normal((size, size)), rng.uniform(0.8, 3), mode='wrap')
    grain /= grain.std()
    owner = _parts(size, rng)
    shades, depths = rng.uniform(0.2, 0.8, 8), rng.uniform(0, 0.15, 8)
    return shades[owner] + depths[owner] * grain


def _leaves(size: int, rng: np.random.Generator) -> np.ndarray:
    """Dead leaves: shapes of all sizes that hide one another (Lee, Mumford and Huang, IJCV 2001).

    As many sizes, edges and corners as in photographs; a network that was trained on nothing else
    restores those nearly as well as one that was trained on them (Achddou et al., SSVM 2021).
    """
    side = 2 * size
    image = np.full((side, side), 128, np.uint8)
    smallest = 2 * rng.uniform(0.7, 4)
    low, high = (int(255 * grey) for grey in _levels(rng))
    radii = smallest * rng.random(LEAVES) ** -0.5  # density r^-3: as much area in every octave
    radii = np.minimum(radii, 0.3 * side).astype(int) + 1
    places, greys = rng.integers(0, side, (LEAVES, 2)), rng.integers(low, high + 1, LEAVES)
    flat, turned = rng.uniform(0.2, 1, LEAVES), rng.uniform(0, 180, LEAVES)
    straight = rng.random(LEAVES) < rng.uniform()
    radii[:50] = 0.2 * side  # nothing stays bare
    leaves = (places.tolist(), radii.tolist(), greys.tolist(), flat.tolist(), turned.tolist())
    for place, radius, grey, ratio, turn, edged in zip(*leaves, straight.tolist()):
        if edged:
            box = cv2.boxPoints((place, (2 * radius, 2 * radius * ratio), turn))
            cv2.fillConvexPoly(image, box.astype(np.int32), grey)
        else:
            cv2.ellipse(image, place, (radius, max(1, int(radius * ratio))), turn, 0, 360, grey, -1)
    small = cv2.resize(image.astype(np.float32) / 255, (size, size), interpolation=cv2.INTER_AREA)
    return small + rng.choice([0, 0.03]) * gaussian_filter(rng.standard_normal(small.shape), 0.7)


def _strokes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Short thin strokes that hide one another, of any or of alike direction, as grass or felt."""
    image = np.full((FINE * size, FINE * size), rng.integers(0, 256), np.uint8)
    count = int(log_uniform(rng, 400, 6000))
    turn, spread = rng.uniform(0, math.pi), rng.choice([math.pi, rng.uniform(0.05, 0.8)])
    angles = turn + spread * rng.standard_normal(count)
    ends = FINE * rng.uniform(3, 40) * np.stack([np.cos(angles), np.sin(angles)], -1)
    starts = rng.uniform(-0.05, 1.05, (count, 2)) * FINE * size
    widths = rng.uniform(2, FINE * rng.uniform(1, 3), count).astype(int)
    low, high = (int(255 * grey) for grey in _levels(rng))
    greys = rng.integers(low, high + 1, count)
    stops = np.rint(starts + ends).astype(int)
    starts = np.rint(starts).astype(int)
    lines = zip(starts.tolist(), stops.tolist(), greys.tolist(), widths.tolist())
    for start, stop, grey, width in lines:
        cv2.line(image, start, stop, grey, width)
    return cv2.resize(image.astype(np.float32) / 255, (size, size), interpolation=cv2.INTER_AREA)


def _texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Roughness of all sizes, down to the pixel, all over or other in parts; stretched or not."""
    owner = _parts(size, rng)
    image = np.empty((size, size))
    for number in range(int(owner.max()) + 1):
        field = power_law_texture(2 * size, rng.uniform(0.7, 1.7), rng)
        across = rng.choice([1, 1, 2])  # pixels of the field in one of the picture
        field = field[: across * size, :size].reshape(size, across, size).mean(1)
        field = (field - field.mean()) / field.std()
        kind = rng.uniform()
        if kind < 0.3:  # ridges or valleys
            field = (np.abs(field) - 0.8) * rng.choice([-1.6, 1.6])
        elif kind < 0.6:  # steep between two greys
            field = np.tanh(rng.uniform(1, 4) * field)
        shade, depth = rng.uniform(0.3, 0.7), rng.uniform(0.05, 0.25)
        area = owner == number
        image[area] = (shade + depth * field)[area]
    return image


KINDS: dict[str, Layer] = dict(
    lines=lambda size, rng: _composed(size, rng, _lines),
    dots=lambda size, rng: _composed(size, rng, _dots),
    print=_print,
    wires=_wires,
    boxes=_boxes,
    holes=_holes,
    grain=_grain,
    leaves=_leaves,
    strokes=_strokes,
    texture=_texture,
)


def make_sharp(kind: str, size: int = 384, seed: int = 0) -> np.ndarray:
    """One picture.

    Args:
        kind: one of ``KINDS``.
        size: of the square in pixels, at least 32.
        seed: the picture is a function of the three.

    Returns:
        (size, size) float32 in [0, 1].

    Raises:
        ValueError: an unknown kind, or a size below 32.
    """
    image, rng = begun(KINDS, kind, size, seed, series=100)
    if rng.uniform() < 0.5:
        image = gaussian_filter(image, rng.uniform(0, BLUR))
    return np.clip(image, 0, 1).astype(np.float32)
