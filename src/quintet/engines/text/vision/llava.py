"""LLaVA 1.5: every picture is one tile, whose patches stand for it in the prompt one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL.Image import Image as Picture

from quintet.core.errors import LoadFailed
from quintet.engines.text.vision.clip import MAX_SIDE, ClipProcessor
from quintet.engines.text.vision.family import MISFIT, Family, Layout, Parts, Rows, Tile, width_of_rows
from quintet.engines.text.vision.numbers import section, whole
from quintet.engines.text.vocabulary import read_json, token_text

_TOWERS = {"clip_vision_model": (1, 32, 224), "siglip_vision_model": (0, 16, 224)}
"""Kind of vision encoder → rows before those of its patches; sides in pixels of a patch and of a tile if not said."""
_LEAST_PATCH = 4


class Llava(Family):
    """A CLIP or SigLIP encoder with a projection behind it."""

    axes = 1

    def __init__(self, parts: Parts) -> None:
        """Read the model's files and compile its encoder; raises LoadFailed."""
        self.token, self.markup = _placeholder(parts)
        self._processor = ClipProcessor.of(parts.image_processor)
        self._grid, self._tile_rows = _measure(parts, self._processor)
        self._network = parts.network("openvino_vision_embeddings_model")
        if self._network.inputs != {"pixel_values"}:
            raise LoadFailed(MISFIT)
        self.width = width_of_rows(self.encode, self._processor.tile, self._tile_rows)

    def layout(self, width: int, height: int) -> Layout:
        """As many placeholders as a tile has rows."""
        return Layout((self.token,) * self._tile_rows)

    def tiles(self, picture: Picture) -> list[Tile]:
        """The picture as one tile."""
        return [self._processor.cut(picture)]

    def encode(self, tiles: Sequence[Tile]) -> list[Rows]:
        """[tile rows, width] of each tile."""
        return list(self._network(pixel_values=self._processor.pixel_values(tiles)))

    def join(self, rows: Sequence[Rows], width: int, height: int) -> Rows:
        """The only tile's rows."""
        return rows[0]


def _placeholder(parts: Parts) -> tuple[int, str]:
    """The placeholder token's id, and how it is written; raises LoadFailed.

    Releases differ in where they say either, so a spelling counts only if the tokenizer makes the one token of it.
    """
    config = parts.config
    key = "image_token_index" if config.get("image_token_index") is not None else "image_token_id"
    token = whole(config, key, least=0, most=10**7)
    for text in _spellings(parts):
        if parts.ids_of(text) == [token]:
            return token, text
    raise LoadFailed(
        f"the tokenizer has no image token with the id that `{key}` in config.json says; pull the model again."
    )


def _spellings(parts: Parts) -> Iterator[str]:
    """How the model's files may write the placeholder."""
    tokenizer = read_json(parts.directory / "tokenizer_config.json")
    special = tokenizer.get("extra_special_tokens")  # in some releases a list
    places = (
        special if isinstance(special, dict) else {},
        tokenizer,
        read_json(parts.directory / "processor_config.json"),
    )
    for place in places:
        text = token_text(place, "image_token")
        if text:
            yield text
    yield "<image>"


def _measure(parts: Parts, processor: ClipProcessor) -> tuple[int, int]:
    """Patches along a tile's side, and rows that the encoder makes of a tile; raises LoadFailed."""
    tower = section(parts.config, "vision_config")
    kind = str(tower.get("model_type", "clip_vision_model"))
    if kind not in _TOWERS:
        raise LoadFailed("the model's vision encoder is neither CLIP nor SigLIP; use another model.")
    extra, patch_default, side_default = _TOWERS[kind]
    side = whole(tower, "image_size", least=_LEAST_PATCH, most=MAX_SIDE, default=side_default)
    patch = whole(tower, "patch_size", least=_LEAST_PATCH, most=side, default=patch_default)
    if processor.tile != (side, side):
        raise LoadFailed(
            f"the image processor makes tiles of {processor.tile[0]} x {processor.tile[1]} pixels, but the vision "
            f"encoder takes {side} x {side}; pull the model again."
        )
    strategy = parts.config.get("vision_feature_select_strategy", "default")
    if strategy not in ("default", "full"):
        raise LoadFailed("`vision_feature_select_strategy` in config.json must be `default` or `full`.")
    grid = side // patch
    return grid, grid * grid + extra - (strategy == "default")
