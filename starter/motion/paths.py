"""How one shape moves through a clip: where it is at which time, and the words for it. Nothing is drawn here."""

import random
import zlib
from dataclasses import dataclass
from typing import Literal

Motion = Literal["right", "left", "up", "down", "growing", "shrinking", "bouncing"]
Size = Literal["small", "medium", "large"]

PHRASES: dict[Motion, dict[str, int]] = {
    "right": {
        "moving right": 4,
        "moving to the right": 2,
        "going right": 1,
        "flying right": 1,
        "moves right": 1,
        "moves to the right": 1,
        "flying to the right": 1,
    },
    "left": {
        "moving left": 4,
        "moving to the left": 2,
        "going left": 1,
        "flying left": 1,
        "moves left": 1,
        "moves to the left": 1,
        "flying to the left": 1,
    },
    "up": {"moving up": 4, "moving upwards": 2, "going up": 1, "flying up": 1, "rising": 1, "moves up": 1},
    "down": {
        "moving down": 4,
        "moving downwards": 2,
        "going down": 1,
        "flying down": 1,
        "falling": 1,
        "moves down": 1,
    },
    "growing": {
        "growing": 4,
        "getting bigger": 2,
        "growing larger": 1,
        "getting larger": 1,
        "grows": 1,
    },
    "shrinking": {"shrinking": 4, "getting smaller": 2, "growing smaller": 1, "shrinks": 1},
    "bouncing": {
        "bouncing": 4,
        "bouncing up and down": 2,
        "jumping up and down": 1,
        "jumping": 1,
        "bounces": 1,
    },
}
"""The words for every motion, and how often each of them is said."""
MOTIONS: tuple[Motion, ...] = tuple(PHRASES)
RESIZING = ("growing", "shrinking")
RADII: dict[Size, float] = {"small": 0.12, "medium": 0.17, "large": 0.24}
"""Half of what a moving shape measures, as a part of the picture's side."""
SMALLEST, LARGEST = 0.09, 0.31
"""What a shape that grows begins with and ends with."""
MARGIN = 0.03
BOUNCE = 0.9
"""How much of the free height a bounce takes."""
_EVERY = 9
"""One of so many triples of colour, shape and motion is never trained."""


@dataclass(frozen=True)
class Way:
    """The way of one shape, in parts of the picture's side; y points down."""

    motion: Motion
    radius: float
    across: float
    """Where it stays in the direction in which it does not move; of a shape that stays where it is, its x."""
    along: float = 0.5
    """The y of a shape that stays where it is."""

    def at(self, time: float) -> tuple[float, float, float]:
        """Centre x, centre y and radius at a time from 0 to 1."""
        low = self.radius + MARGIN
        way = 1.0 - 2.0 * low
        match self.motion:
            case "right":
                return low + way * time, self.across, self.radius
            case "left":
                return low + way * (1.0 - time), self.across, self.radius
            case "down":
                return self.across, low + way * time, self.radius
            case "up":
                return self.across, low + way * (1.0 - time), self.radius
            case "growing":
                return self.across, self.along, SMALLEST + (LARGEST - SMALLEST) * time
            case "shrinking":
                return self.across, self.along, LARGEST - (LARGEST - SMALLEST) * time
            case "bouncing":
                height = 1.0 - (2.0 * time - 1.0) ** 2
                return self.across, 1.0 - low - BOUNCE * way * height, self.radius


def random_path(rng: random.Random, motion: Motion, size: Size = "medium") -> Way:
    """A way for a shape of this size, a little different every time."""
    radius = RADII[size] * rng.uniform(0.94, 1.06)
    if motion in RESIZING:
        return Way(motion, radius, 0.5 + rng.uniform(-0.02, 0.02), 0.5 + rng.uniform(-0.02, 0.02))
    return Way(motion, radius, 0.5 + rng.uniform(-0.06, 0.06))


def still_time(rng: random.Random, motion: Motion) -> float:
    """When to stop a clip for a single picture: late rather than early, so that a picture tells the direction."""
    if motion == "bouncing":
        return rng.random()
    return max(rng.random(), rng.random())


def phrase(rng: random.Random, motion: Motion) -> str:
    """Words for a motion."""
    words = PHRASES[motion]
    return rng.choices(list(words), list(words.values()))[0]


def is_held_out(colour: str, shape: str, motion: Motion) -> bool:
    """Whether this triple is kept from training, to measure what was understood."""
    return zlib.crc32(f"{colour} {shape} {motion}".encode()) % _EVERY == 0
