"""Follows the shape through the frames of a clip and says how it moved; nothing is asked of a model."""

from dataclasses import dataclass

import numpy as np

from starter.image.scenes import DEFAULT_BACKGROUND, colour_rgb, make_scene
from starter.motion.clips import Clip
from starter.motion.paths import Motion
from starter.vision.drawing import draw_picture

_FOREGROUND = 0.5
"""A pixel belongs to the shape if it is nearer to its colour than to the background's."""
_LEAST_PIXELS = 12
_FAR, _STILL = 0.2, 0.16
"""How far a shape has to get, and how far it may stray, in sides of the picture."""
_RATIO = 1.45
"""How much larger a shape has to become."""
_HEIGHT = 0.15
"""How high it has to bounce."""
_JERK = 0.3
"""No step from frame to frame is farther than this."""


@dataclass(frozen=True)
class Track:
    """Where the shape was in each frame, in sides of the picture: x, y and the side of a square of its area."""

    spots: np.ndarray
    seen: int
    """In how many frames there was a shape at all."""


def follow(clip: Clip, frames: np.ndarray) -> Track:
    """The track of the shape that the clip's prompt asks for, in frames [frames, height, width, 3]."""
    empty = np.asarray(draw_picture(make_scene(clip.background or DEFAULT_BACKGROUND, ())), np.float32)
    colour = np.array(colour_rgb(clip.colour), np.float32)
    side = frames.shape[1]
    rows, columns = np.mgrid[0:side, 0:side] / side + 0.5 / side
    spots = []
    for frame in frames.astype(np.float32):
        to_colour = np.linalg.norm(frame - colour, axis=-1)
        to_ground = np.linalg.norm(frame - empty, axis=-1)
        mask = to_ground / (to_ground + to_colour + 1e-3) > _FOREGROUND
        if mask.sum() >= _LEAST_PIXELS:
            spots.append((columns[mask].mean(), rows[mask].mean(), mask.sum() ** 0.5 / side))
    return Track(np.array(spots).reshape(-1, 3), len(spots))


def moves_as(track: Track, motion: Motion, frames: int) -> bool:
    """Whether the shape moved like this, in every frame seen and without a jump."""
    if track.seen < frames - 1:
        return False
    x, y, size = track.spots.T
    steps = np.abs(np.diff(track.spots[:, :2], axis=0)).max() if len(x) > 1 else 0.0
    across, down, ratio = _change(x), _change(y), _ends(size)[1] / _ends(size)[0]
    match motion:
        case "right" | "left":
            way = across if motion == "right" else -across
            return bool(way > _FAR and np.ptp(y) < _STILL and steps < _JERK)
        case "down" | "up":
            way = down if motion == "down" else -down
            return bool(way > _FAR and np.ptp(x) < _STILL and steps < _JERK)
        case "growing" | "shrinking":
            larger = ratio if motion == "growing" else 1 / ratio
            return bool(larger > _RATIO and np.ptp(x) < _STILL and np.ptp(y) < _STILL)
        case "bouncing":
            middle = len(y) // 2
            top = y[max(0, middle - 1) : middle + 2].mean()
            return bool(min(y[0], y[-1]) - top > _HEIGHT and np.ptp(x) < _STILL)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The mean of the first and of the last quarter."""
    part = max(1, len(values) // 4)
    return float(values[:part].mean()), float(values[-part:].mean())


def _change(values: np.ndarray) -> float:
    first, last = _ends(values)
    return last - first
