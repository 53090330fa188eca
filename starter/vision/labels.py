"""Dense labels: for every patch of a picture what it belongs to, and facts about the whole picture, to train the eye."""

import numpy as np

from starter.vision.drawing import CHART_COLUMNS, CHART_FLOOR
from starter.vision.palette import BACKGROUNDS, COLOURS
from starter.vision.scenes import BAR_NAMES, DIGITS, KINDS, LETTERS, PLACES, RANKS, SHAPES, SIZES, Scene

PATCHES_PER_SIDE = 6
NAMES = (*SHAPES, *LETTERS, *DIGITS, "bar")
HEADS: dict[str, int] = {
    "name": len(NAMES) + 1, "colour": len(COLOURS) + 1, "place": len(PLACES) + 1, "size": len(SIZES) + 1, "order": 5,
    "rank": len(RANKS) + 1, "bar": len(BAR_NAMES) + 1, "count": 5, "background": len(BACKGROUNDS), "kind": len(KINDS),
}  # fmt: skip
"""What is told of every patch and how many classes each has; in all but the last three, class 0 means nothing is there."""

UNKNOWN = -1
"""The label of what nobody could say for sure."""


def patch_labels(scene: Scene) -> np.ndarray:
    """Labels [heads, patches] of one picture."""
    side = PATCHES_PER_SIDE
    labels = {head: np.zeros((side, side), np.int8) for head in HEADS}
    labels["count"][:] = len(scene.things) or len(scene.bars)
    labels["background"][:] = BACKGROUNDS.index(scene.background)
    labels["kind"][:] = KINDS.index(scene.kind)
    centres = (np.arange(side) + 0.5) / side
    across, down = centres[None, :], centres[:, None]
    reach_x = scene.width / min(scene.width, scene.height)
    reach_y = scene.height / min(scene.width, scene.height)
    for order, thing in enumerate(scene.things):
        reach = thing.radius + 0.07
        belongs = (abs(across - thing.x) * reach_x <= reach) & (abs(down - thing.y) * reach_y <= reach)
        belongs[min(side - 1, int(thing.y * side)), min(side - 1, int(thing.x * side))] = True
        labels["name"][belongs] = NAMES.index(thing.name) + 1
        labels["colour"][belongs] = COLOURS.index(thing.colour) + 1
        labels["place"][belongs] = UNKNOWN if thing.place is None else PLACES.index(thing.place) + 1
        labels["size"][belongs] = UNKNOWN if thing.size is None else SIZES.index(thing.size) + 1
        labels["order"][belongs] = order + 1
    for order, (bar, rank) in enumerate(zip(scene.bars, scene.ranks, strict=True)):
        left, right = CHART_COLUMNS[order]
        column = (across >= left - 0.05) & (across <= right + 0.05) & (down > 0)
        labels["colour"][column] = COLOURS.index(bar.colour) + 1
        labels["order"][column] = order + 1
        labels["rank"][column] = RANKS.index(rank) + 1
        labels["bar"][column] = BAR_NAMES.index(bar.name) + 1
        labels["name"][column & (down >= CHART_FLOOR - bar.height - 0.04)] = NAMES.index("bar") + 1
        labels["name"][column & (down > CHART_FLOOR)] = NAMES.index(bar.name) + 1
    return np.stack([labels[head].reshape(-1) for head in HEADS])
