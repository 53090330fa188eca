"""Clips made by code: drawings and photographs in motion."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

BACKGROUND = (240, 240, 255)


def drawing(count=8, side=48, *, colour=(220, 30, 30)) -> np.ndarray:
    """A disc with smooth edges that goes to the right."""
    frames = []
    for number in range(count):
        picture = Image.new("RGB", (4 * side, 4 * side), BACKGROUND)
        x = (0.2 + 0.6 * number / max(1, count - 1)) * 4 * side
        box = [x - 0.7 * side, 1.3 * side, x + 0.7 * side, 2.7 * side]
        ImageDraw.Draw(picture).ellipse(box, fill=colour)
        frames.append(np.asarray(picture.reduce(4)))
    return np.stack(frames)


def noisy_drawing(count=8, side=48) -> np.ndarray:
    """A drawing as a decoder of latents paints it: many colours that are nearly the same."""
    noise = np.random.default_rng(3).integers(-2, 3, (count, side, side, 3))
    return np.clip(drawing(count, side) + noise, 0, 255).astype(np.uint8)


def photograph(count=6, side=64) -> np.ndarray:
    """Soft colours everywhere; the left half stands still, the right half moves."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((3 * side, side), Image.Resampling.BICUBIC))
    still = np.repeat(wide[None, :, : side // 2], count, axis=0)
    moving = np.stack([wide[:, side + 2 * k : side + side // 2 + 2 * k] for k in range(count)])
    return np.concatenate([still, moving], axis=2)


def shown(data: bytes) -> np.ndarray:
    """What a viewer shows: every frame, composed."""
    frames = []
    with Image.open(BytesIO(data)) as file:
        for number in range(file.n_frames):  # type: ignore[attr-defined]
            file.seek(number)
            frames.append(np.asarray(file.convert("RGB")))
    return np.stack(frames)
