"""Built-in data: procedural scenes of hot-air balloons, drawn from ``(seed, index)`` at any size.

They are made for colorization. The color of sky, clouds, hills, grass, sea and sand follows from texture, luma and
position, so a network that sees the gray picture can learn it. The hue of a balloon follows from nothing: every hue has
the same distribution of luma, shape and place. The best a pixel loss can do for a balloon is the median of all hues,
which is a dull brown; only an adversarial loss asks for a vivid one. Photographs are like that in part: there, blue
things tend to be darker than yellow ones. A *hue cue* makes balloons so, more or less of them as it is larger.

Everything lies in unit coordinates (x to the right, y down, both in [0, 1]), and nothing that is drawn at random
depends on the size: a scene at 64 and at 192 pixels is the same scene. Edges and textures are filtered to the size of
a pixel analytically, without supersampling. Every color is a convex mix of colors inside the RGB cube, so nothing is
clipped.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nogan.common.rng import numpy_rng
from nogan.common.ycbcr import REC601

BALLOON_HUES = (30.0, 108.0, 143.0, 245.0, 345.0)
"""Hue modes of the balloons, degrees in the (Cb, Cr) plane: purple, red, amber, green, blue."""
HUES_BY_LUMA = (4, 0, 1, 3, 2)
"""Indices of the modes from the darkest to the brightest with a hue cue: blue, purple, red, green, amber."""
HUE_JITTER = 5.0
"""Largest deviation from a hue mode, degrees."""
MEAN_LUMA = (0.42, 0.57)
"""Least and greatest luma of an envelope before shading and stripes."""
BALLOON_LUMA = (0.30, 0.66)
"""Least and greatest Rec. 601 luma of an envelope, shading and stripes included, whatever its hue."""
SATURATION = (0.85, 0.97)
"""Share of the largest chroma that the RGB cube holds at a balloon's hue and luma, or of MAX_CHROMA if less."""
MAX_CHROMA = 0.33
"""Chroma, as a radius in the (Cb, Cr) plane, beyond which red and green would be garish."""

GROUNDS = ("grass", "sea", "sand")

# The outline of a balloon, in radii of its sphere: the envelope ends in a cone that touches the sphere at a latitude.
_TAPER_SINE, _TAPER_COSINE = math.sin(math.radians(44)), math.cos(math.radians(44))
_MOUTH = 1.24
_MOUTH_WIDTH = (1 - _MOUTH * _TAPER_SINE) / _TAPER_COSINE
_BASKET_TOP, _BASKET_BOTTOM, _BASKET_WIDTH = 1.52, 1.76, 0.15


def draw_scene(seed: int, index: int, size: int, hue_cue: float = 0.0) -> np.ndarray:
    """Scene ``index`` of ``seed`` as uint8 RGB ``(size, size, 3)``; the same content at every size.

    Args:
        seed: of the set of scenes.
        index: of the scene, 0 or more.
        size: px, of a side.
        hue_cue: in [0, 1], how far the luma of a balloon tells its hue: 0, not at all; 1, wholly.
    """
    rgb = _draw(seed, index, size, hue_cue)
    np.multiply(rgb, 255, out=rgb)
    rgb += 0.5
    return np.ascontiguousarray(rgb.astype(np.uint8).transpose(1, 2, 0))


class Scenes:
    """Image source of ``length`` scenes: ``load(index, size)`` gives uint8 RGB ``(size, size, 3)``."""

    def __init__(self, seed: int, length: int, hue_cue: float = 0.0):
        self.seed, self.length, self.hue_cue = seed, length, hue_cue

    def __len__(self) -> int:
        return self.length

    def load(self, index: int, size: int) -> np.ndarray:
        """Draw scene ``index``, in [0, length), at ``size`` pixels; raises IndexError outside that range."""
        if not 0 <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        return draw_scene(self.seed, index, size, self.hue_cue)


def _draw(seed: int, index: int, size: int, hue_cue: float = 0.0) -> np.ndarray:
    """The scene as float32 RGB ``(3, size, size)`` in [0, 1], never clipped to it."""
    rng = numpy_rng("scenes", seed, index)
    sky = _Sky.random(rng)
    rgb = np.broadcast_to(sky.haze, (3, size, size)).copy()
    _paint_sky(rgb, rng, sky)
    ground = GROUNDS[rng.integers(len(GROUNDS))]
    _paint_hills(rgb, rng, sky, ground)
    _PAINT_GROUND[ground](rgb, rng, sky)
    for balloon in _random_balloons(rng, hue_cue):
        _paint_balloon(rgb, balloon, sky)
    return rgb


# ------------------------------------------------------------------------------------------------ tools


def _rgb(*hexes: str) -> np.ndarray:
    """Colors ``(n, 3, 1, 1)`` of hex codes, e.g. ``"ffcc00"``."""
    return np.array([list(bytes.fromhex(code)) for code in hexes], np.float32)[:, :, None, None] / 255


def _centers(size: int) -> np.ndarray:
    return (np.arange(size, dtype=np.float32) + 0.5) / size


def _cube(x: np.ndarray) -> np.ndarray:
    return x * x * x


def _spline(at: np.ndarray, knots: int, footprint: np.ndarray | float) -> np.ndarray:
    """Weights ``(len(at), knots)`` that interpolate a lattice at ``at`` by the cubic B-spline.

    ``footprint`` is how many lattice steps a pixel covers; beyond 1 the kernel widens to it, so that nothing aliases.
    """
    distance = np.abs(at[:, None] - np.arange(knots, dtype=np.float32))
    distance /= np.maximum(np.reshape(footprint, (-1, 1)), 1).astype(np.float32)
    weights = _cube(np.maximum(2 - distance, 0)) - 4 * _cube(np.maximum(1 - distance, 0))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


@lru_cache(maxsize=256)
def _across(size: int, cells: int) -> np.ndarray:
    """Weights ``(cells + 3, size)`` of a lattice of ``cells`` cells laid over the picture's width."""
    return np.ascontiguousarray(_spline(_centers(size) * cells + 1, cells + 3, cells / size).T)


def _lattice(rng: np.random.Generator, rows: int, cells: int) -> np.ndarray:
    """White noise ``(rows, cells + 3)``; interpolated by :func:`_spline` its deviation is about 1."""
    lattice = rng.random((rows, cells + 3), dtype=np.float32)
    lattice -= 0.5
    lattice *= 7.0
    return lattice


def _blend(rgb: np.ndarray, color: np.ndarray, alpha: np.ndarray) -> None:
    """Mix ``color`` into ``rgb`` in place: the share ``alpha`` of it, in [0, 1]."""
    difference = color - rgb
    difference *= alpha
    rgb += difference


def _ramp(t: np.ndarray, dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Colors from ``dark`` (t = 0) to ``light`` (t = 1)."""
    return dark + np.clip(t, 0, 1) * (light - dark)


def _smoothstep(t: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((t - low) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


# -------------------------------------------------------------------------------------------------- sky


@dataclass(frozen=True)
class _Sky:
    """What light and horizon are in one scene."""

    horizon: float  # y of the horizon
    evening: float  # 0 noon .. 1 late afternoon: warmer and darker
    sun: float  # x of the sun
    haze: np.ndarray  # color at the horizon, (3, 1, 1)

    @staticmethod
    def random(rng: np.random.Generator) -> "_Sky":
        horizon, evening, sun = rng.uniform(0.58, 0.76), rng.random(), rng.uniform(0.1, 0.9)
        noon, late = _rgb("e9f1f2", "f9d9b4")
        return _Sky(horizon, evening, sun, (noon + evening * (late - noon)).astype(np.float32))


def _paint_sky(rgb: np.ndarray, rng: np.random.Generator, sky: _Sky) -> None:
    size = rgb.shape[1]
    rows = min(size, int(np.ceil(sky.horizon * size)) + 1)
    x, y = _centers(size), _centers(size)[:rows]
    rgb, height = rgb[:, :rows], np.clip(1 - y / sky.horizon, 0, 1)[:, None]

    noon, late, middle = _rgb("2f6fc4", "3f639f", "86b6e3")
    top = noon + np.float32(sky.evening) * (late - noon)
    rise = np.sqrt(height)
    rgb[:] = _ramp(rise, sky.haze, middle) * (1 - rise) + _ramp(rise, middle, top) * rise
    glow = np.exp(-(((x - sky.sun) / 0.38) ** 2)) * np.exp(-((height / 0.45) ** 2))
    (sunny,) = _rgb("fff3d6")
    _blend(rgb, sunny, glow * np.float32(0.75))

    # Clouds flatten toward the horizon; a second sample a little above each point tells which side the light is on.
    cover, stretch = rng.uniform(-0.9, 0.5), rng.uniform(0.8, 1.5)
    depth = np.log(1 / (height[:, 0] + 0.22))
    steepness = np.gradient(depth) if rows > 1 else np.ones(1)
    density, above = np.zeros((2, rows, size), np.float32)
    for octave, strength in enumerate((0.85, 0.5, 0.27, 0.14)):
        cells, pitch = round(3 * stretch) * 2**octave, 2.6 * 2**octave
        knots = int(1.8 * pitch) + 5
        lattice = _lattice(rng, knots, cells) @ _across(size, cells) * np.float32(strength)
        at, footprint = (depth + 0.25) * pitch + 1.5, steepness * pitch
        density += _spline(at, knots, footprint) @ lattice
        if octave < 3:
            above += _spline(at - 0.22, knots, footprint) @ lattice
    cloud = _smoothstep(density, -cover, 1.3 - cover)
    light = 0.62 + 0.30 * (density - above)
    shade, bright = _rgb("a9b7c8", "fffdf8")
    warm = shade + np.float32(0.5 * sky.evening) * (_rgb("c9a99a")[0] - shade)
    _blend(rgb, _ramp(light, warm, bright), cloud * (0.35 + 0.6 * _smoothstep(height, 0.0, 0.25)).astype(np.float32))


def _paint_hills(rgb: np.ndarray, rng: np.random.Generator, sky: _Sky, ground: str) -> None:
    """Distant ridges, the farther the nearer to the color of the haze."""
    size = rgb.shape[1]
    y = _centers(size)[:, None]
    near = {"grass": _rgb("4f7350"), "sea": _rgb("5d7f97"), "sand": _rgb("a98a6a")}[ground][0]
    layers = int(rng.integers(2, 4)) if ground != "sea" else int(rng.integers(0, 3))
    for layer in range(layers):
        closeness = (layer + 1) / (layers + 0.6)
        rise = rng.uniform(0.03, 0.06) * (1.9 - closeness)
        ridge = np.zeros(size, np.float32)
        for cells, strength in ((3, 1.0), (7, 0.45), (17, 0.16), (43, 0.05)):
            ridge += strength * (_lattice(rng, 1, cells)[0] @ _across(size, cells)) * 0.5
        # An archipelago sinks below the horizon here and there; on land the ridge goes on.
        top = sky.horizon - rise * (0.75 + 0.42 * ridge if ground != "sea" else 0.9 * ridge - 0.3)
        first = max(0, int(top.min() * size) - 1)
        last = min(size, int(np.ceil(sky.horizon * size)) + 1)
        if first >= last:
            continue
        alpha = np.clip((y[first:last] - top) * size + 0.5, 0, 1)
        mist = np.clip((y[first:last] - top) / 0.09, 0, 1) * np.float32(0.4 * (1 - closeness) + 0.12)
        color = sky.haze + np.float32(0.28 + 0.62 * closeness) * (near - sky.haze)
        _blend(rgb[:, first:last], color + mist * (sky.haze - color), alpha)


# ----------------------------------------------------------------------------------------------- ground


class _Plane:
    """The ground below the horizon: perspective textures on its rows."""

    KNOTS = 5.2  # ln of the greatest distance that is textured, the nearest being 1

    def __init__(self, size: int, horizon: float):
        self.size, self.first = size, max(0, int(horizon * size - 0.5))
        self.y = _centers(size)[self.first :]
        below = np.maximum(self.y - horizon, 0.25 / size)
        self.near = (below / (1 - horizon))[:, None]  # 0 at the horizon, 1 at the bottom
        self.distance = np.minimum(-np.log(self.near[:, 0]), self.KNOTS)  # ln
        self.step = 1 / (below * size)  # change of ln(distance) over a pixel's height
        self.edge = np.clip((self.y[:, None] - horizon) * size + 0.5, 0, 1)

    def texture(self, rng: np.random.Generator, cells: int, pitch: float, octaves: int = 4) -> np.ndarray:
        """Noise ``(rows, size)`` whose grains shrink with the distance.

        At the bottom the picture is ``cells`` grains wide; ``pitch`` grains follow one another while the distance
        grows e-fold. Widths halve from octave to octave, each octave serving its own range of distance.
        """
        knots = int(self.KNOTS * pitch) + 5
        down = _spline(self.distance * pitch + 1.5, knots, self.step * pitch)
        total = np.zeros((len(self.y), self.size), np.float32)
        for octave in range(octaves):
            weight = np.maximum(1 - np.abs(self.distance / np.log(2) - octave), 0)
            if octave == octaves - 1:
                weight[self.distance > octave * np.log(2)] = 1
            lattice = _lattice(rng, knots, cells * 2**octave)
            used = np.flatnonzero(weight)
            if len(used):
                rows = slice(used[0], used[-1] + 1)
                down_octave = down[rows] * weight[rows, None]
                total[rows] += (down_octave @ lattice) @ _across(self.size, cells * 2**octave)
        return total

    def paint(self, rgb: np.ndarray, color: np.ndarray, sky: _Sky, haze: float) -> None:
        """Lay ``color`` ``(3, rows, size)`` under the horizon, hazy with the distance."""
        mist = np.float32(haze) * np.exp(-self.near / 0.10)
        color += mist * (sky.haze - color)
        _blend(rgb[:, self.first :], color, self.edge)


def _paint_grass(rgb: np.ndarray, rng: np.random.Generator, sky: _Sky) -> None:
    plane = _Plane(rgb.shape[1], sky.horizon)
    meadows = plane.texture(rng, cells=2, pitch=1.6, octaves=3)
    tufts = plane.texture(rng, cells=26, pitch=9.0, octaves=2)
    blades = plane.texture(rng, cells=90, pitch=9.0, octaves=1) * plane.near
    t = 0.50 + 0.16 * meadows + 0.10 * tufts + 0.13 * blades - 0.12 * plane.near
    dark, light = _rgb("2c4d22", "a5bb57")
    plane.paint(rgb, _ramp(t, dark, light), sky, haze=0.45)


def _paint_sea(rgb: np.ndarray, rng: np.random.Generator, sky: _Sky) -> None:
    plane = _Plane(rgb.shape[1], sky.horizon)
    swell = plane.texture(rng, cells=3, pitch=5.0, octaves=4)
    waves = plane.texture(rng, cells=9, pitch=15.0, octaves=3)
    deep, shallow, foam = _rgb("124a66", "4f9fae", "f6f4e6")
    t = 0.42 + 0.10 * swell + 0.15 * waves - 0.25 * (plane.near - 0.4)
    color = _ramp(t, deep, shallow)
    path = np.exp(-(((_centers(plane.size) - sky.sun) / (0.10 + 0.14 * plane.near)) ** 2)).astype(np.float32)
    glint = _smoothstep(waves + 0.5 * swell, 0.8, 2.2)
    _blend(color, foam, np.clip(glint * (0.22 + 0.75 * path) + 0.25 * path * (1 - plane.near), 0, 1))
    plane.paint(rgb, color, sky, haze=0.35)


def _paint_sand(rgb: np.ndarray, rng: np.random.Generator, sky: _Sky) -> None:
    plane = _Plane(rgb.shape[1], sky.horizon)
    dunes = plane.texture(rng, cells=2, pitch=1.3, octaves=3)
    grains = plane.texture(rng, cells=60, pitch=14.0, octaves=1) * plane.near
    # Ripples lie across the view, bent by the dunes, and fade where a pixel can no longer resolve them.
    phase = np.float32(rng.uniform(55, 75)) * plane.near**0.6
    resolved = 1 - _smoothstep(np.abs(np.gradient(phase, axis=0)) if len(phase) > 1 else phase, 0.4, 1.6)
    ripples = np.sin(phase + 2.4 * dunes) * resolved
    t = 0.60 + 0.17 * dunes + 0.13 * ripples + 0.06 * grains
    dark, light = _rgb("b0814f", "f4dca8")
    plane.paint(rgb, _ramp(t, dark, light), sky, haze=0.4)


_PAINT_GROUND = {"grass": _paint_grass, "sea": _paint_sea, "sand": _paint_sand}


# --------------------------------------------------------------------------------------------- balloons


@dataclass(frozen=True)
class _Balloon:
    x: float
    y: float
    radius: float
    hue: float  # radians in the (Cb, Cr) plane
    saturation: float
    luma: float
    gores: int
    stripe: float  # amplitude of the stripes, in luma
    band: float  # amplitude of the belt, in luma
    turn: float  # radians about the vertical


def _random_balloons(rng: np.random.Generator, hue_cue: float = 0.0) -> list[_Balloon]:
    """One to three balloons, the smallest (farthest) first, apart from one another where there is room."""
    count = int(rng.integers(1, 4))
    low, high = ((0.18, 0.24), (0.13, 0.185), (0.10, 0.15))[count - 1]
    balloons: list[_Balloon] = []
    for radius in sorted(rng.uniform(low, high, count).tolist()):
        best, room = (0.0, 0.0), -math.inf  # the first try beats it
        for x, t in rng.random((12, 2)).tolist():
            x, y = 0.04 + radius + x * (0.92 - 2 * radius), 0.04 + radius + t * (0.78 - 2.2 * radius)
            y = min(y, 0.97 - _BASKET_BOTTOM * radius)  # the whole of it is in the picture
            clear = min((math.hypot(x - b.x, 0.75 * (y - b.y)) - radius - b.radius for b in balloons), default=0.0)
            clear = min(clear, 0.03) - 0.02 * t  # once they are apart, prefer a higher place
            if clear > room:
                best, room = (x, y), clear
        mode = int(rng.integers(len(BALLOON_HUES)))
        hue = math.radians(BALLOON_HUES[mode] + rng.uniform(-HUE_JITTER, HUE_JITTER))
        luma, stripe, band = rng.uniform(*MEAN_LUMA), rng.uniform(0.0, 0.05), rng.uniform(-0.06, 0.06)
        luma += hue_cue * (_typical_luma(mode) - luma)
        gores, turn = int(rng.integers(5, 9)), rng.uniform(0, 2 * math.pi)
        balloons.append(_Balloon(*best, radius, hue, rng.uniform(*SATURATION), luma, gores, stripe, band, turn))
    return balloons


def _typical_luma(mode: int) -> float:
    """The luma that tells a hue mode where the cue is whole."""
    darkest, brightest = MEAN_LUMA
    return darkest + (brightest - darkest) * HUES_BY_LUMA.index(mode) / (len(HUES_BY_LUMA) - 1)


def _chroma_direction(hue: float) -> np.ndarray:
    """RGB ``(3,)`` of the unit chroma at ``hue`` (radians in the full-range Rec. 601 (Cb, Cr) plane), at luma 0."""
    cb, cr = math.cos(hue), math.sin(hue)
    red, blue = 1.402 * cr, 1.772 * cb
    return np.array([red, -(REC601[0] * red + REC601[2] * blue) / REC601[1], blue], np.float32)


def _color(luma: np.ndarray, hue: float, saturation: float) -> np.ndarray:
    """RGB ``(3, h, w)`` of ``luma`` ``(h, w)``, with the share ``saturation`` of the greatest chroma allowed there."""
    direction = _chroma_direction(hue)
    chroma = np.minimum(luma / -direction.min(), (1 - luma) / direction.max())
    chroma = np.minimum(chroma, MAX_CHROMA, out=chroma)
    chroma *= np.float32(saturation)
    return luma + direction[:, None, None] * chroma


def _paint_balloon(rgb: np.ndarray, balloon: _Balloon, sky: _Sky) -> None:
    size = rgb.shape[1]
    pixel = 1 / (balloon.radius * size)  # a pixel's width in radii

    left, right = _span(balloon.x, -1, 1, balloon.radius, size)
    top, bottom = _span(balloon.y, -1, _BASKET_BOTTOM, balloon.radius, size)
    x = ((np.arange(left, right, dtype=np.float32) + 0.5) / size - balloon.x) / balloon.radius
    y = (((np.arange(top, bottom, dtype=np.float32) + 0.5) / size - balloon.y) / balloon.radius)[:, None]
    x, y = x.astype(np.float32), y.astype(np.float32)
    _paint_basket(rgb[:, top:bottom, left:right], x, y, pixel)

    rows = int(np.searchsorted(y[:, 0], _MOUTH + pixel))
    y, rgb = y[:rows], rgb[:, top : top + rows, left:right]
    sine = np.clip(y, -1, _TAPER_SINE)  # of the latitude; the cone keeps that of its rim
    cosine = np.sqrt(1 - sine * sine)
    width = np.where(y < _TAPER_SINE, cosine, (1 - y * _TAPER_SINE) / _TAPER_COSINE)
    across = np.clip(x / np.maximum(width, 1e-3), -1, 1)

    # Signed distance to the outline, which is a circle and its two tangents, cut off at the mouth.
    circle = np.sqrt(x * x + y * y) - 1
    tangent = np.abs(x) * _TAPER_COSINE + y * _TAPER_SINE - 1
    distance = np.where(y * _TAPER_COSINE > np.abs(x) * _TAPER_SINE, tangent, circle)
    distance = np.maximum(distance, y - _MOUTH)
    alpha = np.clip(0.5 - distance / pixel, 0, 1)

    light_x = max(-0.7, min(0.7, (sky.sun - balloon.x) * 1.6))
    light = (light_x, -0.55, math.sqrt(1 - light_x**2 - 0.55**2))
    facing = across * cosine * light[0] + sine * light[1] + np.sqrt(1 - across * across) * cosine * light[2]
    stripes = np.sin(balloon.gores * np.arcsin(across) * 2 + balloon.turn)
    gore = math.pi / balloon.gores / 2  # a stripe's width, in radii
    stripes = np.clip(stripes * 2.2, -1, 1) * (balloon.stripe * min(1.0, gore / pixel / 2))
    bulge = 0.13 * np.sqrt(1 - across * across)  # seen from below, a parallel is an arch
    belt = _smoothstep(0.28 - np.abs(y - 0.02 + bulge), -pixel, pixel) * balloon.band
    luma = np.clip(balloon.luma - 0.12 + 0.26 * facing * (0.55 + 0.45 * facing) + stripes + belt, *BALLOON_LUMA)
    _blend(rgb, _color(luma.astype(np.float32), balloon.hue, balloon.saturation), alpha.astype(np.float32))


def _span(center: float, low: float, high: float, radius: float, size: int) -> tuple[int, int]:
    """First and end pixel of ``center + radius * [low, high]``, a pixel wider, inside the picture."""
    first, end = (center + radius * low) * size - 1, (center + radius * high) * size + 2
    return max(0, int(first)), min(size, int(end))


def _paint_basket(rgb: np.ndarray, x: np.ndarray, y: np.ndarray, pixel: float) -> None:
    """The basket and its ropes, in place, on the pixels at ``x`` (columns) and ``y`` (rows), in radii."""
    above = int(np.searchsorted(y[:, 0], _MOUTH - 0.04))
    y, rgb = y[above:], rgb[:, above:]
    rope, basket, rim = _rgb("4a4038", "7a5230", "a67c4e")
    way = np.clip((y - _MOUTH) / (_BASKET_TOP - _MOUTH), 0, 1)
    spread = _MOUTH_WIDTH + way * (_BASKET_WIDTH * 0.9 - _MOUTH_WIDTH)
    ropes = sum(np.clip(0.5 + (0.014 - np.abs(x - side * spread)) / pixel, 0, 1) for side in (-1.0, 0.0, 1.0))
    thin = min(1.0, 0.028 / pixel + 0.15)
    upper = np.clip(0.5 + (_BASKET_TOP - y) / pixel, 0, 1)
    _blend(rgb, rope, np.minimum(ropes, 1) * upper * np.float32(thin))

    middle, half = (_BASKET_TOP + _BASKET_BOTTOM) / 2, (_BASKET_BOTTOM - _BASKET_TOP) / 2
    outside = np.maximum(np.abs(x) - _BASKET_WIDTH, np.abs(y - middle) - half)
    weave = np.clip(0.5 + (y - middle) / half, 0, 1)
    _blend(rgb, rim + weave * (basket - rim), np.clip(0.5 - outside / pixel, 0, 1))
