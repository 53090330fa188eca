"""Endless training batches of three kinds: conversations about pictures, starter-chat's own texts, and labelled pictures."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from starter.chat.chatml import END, IMAGE, PAD, Segment, training_segments
from starter.vision.dialogues import Dialogue, training_dialogue
from starter.vision.labels import PATCHES_PER_SIDE
from starter.vision.pictures import load_labels, load_pictures, shard_scenes, shards
from starter.vision.scenes import Scene

PATCHES = PATCHES_PER_SIDE**2
_LONGEST = 480
_ROUND_LENGTH_TO = 32
_RAW_SHARE = 0.07
_RAW = (
    ("{q}", "\n{a}"), ("{q}\n", "{a}"), ("USER: {q} ASSISTANT:", " {a}"), ("User: {q}\nAssistant:", " {a}"),
    ("User:{q}<end_of_utterance>\nAssistant:", " {a}"), ("Question: {q}\nAnswer:", " {a}"), ("[INST] {q} [/INST]", " {a}"),
)  # fmt: skip
"""How clients without a chat template ask."""


@dataclass(frozen=True)
class Look:
    """Some pictures' pixels and their dense labels."""

    pixels: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Talk:
    """Padded conversations: ids and their weights [conversations, length], and the pixels of their pictures in order."""

    ids: torch.Tensor
    weights: torch.Tensor
    pixels: np.ndarray


class Pool:
    """All pictures on disk with their scenes."""

    def __init__(self, folder: Path) -> None:
        self._shards = shards(folder)
        self._pixels = [load_pictures(folder, shard) for shard in self._shards]
        self._labels = [load_labels(folder, shard) for shard in self._shards]
        self._scenes = [shard_scenes(shard) for shard in self._shards]
        self.places = {
            id(scene): (file, row)
            for file, scenes in enumerate(self._scenes)
            for row, scene in enumerate(scenes)
        }

    def pick(self, rng: random.Random) -> Callable[[Callable[[Scene], bool] | None], Scene]:
        """A function that draws scenes of the pool, any or those that meet a condition."""

        def draw(wanted: Callable[[Scene], bool] | None) -> Scene:
            while True:
                scene = rng.choice(rng.choice(self._scenes))
                if wanted is None or wanted(scene):
                    return scene

        return draw

    def pixels(self, scene: Scene) -> np.ndarray:
        """The picture of one of the pool's scenes."""
        file, row = self.places[id(scene)]
        picture: np.ndarray = self._pixels[file][row]
        return picture

    def look(self, rng: random.Random, count: int) -> Look:
        """Random labelled pictures."""
        places = [
            (file, rng.randrange(len(self._scenes[file])))
            for file in rng.choices(range(len(self._scenes)), k=count)
        ]
        return Look(
            np.stack([self._pixels[file][row] for file, row in places]),
            np.stack([self._labels[file][row] for file, row in places]),
        )


def pieces(rng: random.Random, dialogue: Dialogue) -> list[Segment]:
    """The wire form to learn from: ChatML, tidy or not, and now and then a raw prompt."""
    roles = [role for role, _ in dialogue.messages[:2]]
    if roles == ["user", "assistant"] and rng.random() < _RAW_SHARE * 2:
        (_, question), (_, answer) = dialogue.messages[:2]
        before, after = rng.choice(_RAW)
        return [
            Segment(
                before.format(q=question.strip("\n") if before != "{q}" else question.rstrip("\n")), False
            ),
            Segment(after.format(a=answer) + END, True),
        ]
    return training_segments(rng, dialogue.messages)


def encoded(tokeniser: Tokenizer, segments: list[Segment]) -> tuple[list[int], list[float]]:
    """Ids, every picture as its patches, and their weights in the loss."""
    image = tokeniser.token_to_id(IMAGE)
    ids: list[int] = []
    weights: list[float] = []
    for segment, found in zip(
        segments,
        tokeniser.encode_batch_fast([piece.text for piece in segments], add_special_tokens=False),
        strict=True,
    ):
        for token in found.ids:
            ids += [image] * PATCHES if token == image else [token]
        weights += [1.0 if segment.learned else 0.0] * (len(ids) - len(weights))
    return ids, weights


def talks(rng: random.Random, tokeniser: Tokenizer, pool: Pool, tokens: int) -> Iterator[Talk]:
    """Conversations about pictures in batches of about `tokens`, grouped by length, for ever."""
    image, pad = tokeniser.token_to_id(IMAGE), tokeniser.token_to_id(PAD)
    pick = pool.pick(rng)
    waiting: dict[int, list[tuple[list[int], list[float], tuple[Scene, ...]]]] = defaultdict(list)
    while True:
        dialogue = training_dialogue(rng, pick)
        ids, weights = encoded(tokeniser, pieces(rng, dialogue))
        seen = dialogue.scenes[
            : ids.count(image) // PATCHES
        ]  # a raw prompt shows the first question's pictures alone
        if len(ids) > _LONGEST:
            continue
        length = -(-len(ids) // _ROUND_LENGTH_TO) * _ROUND_LENGTH_TO
        bucket = waiting[length]
        bucket.append((ids, weights, seen))
        if len(bucket) >= max(1, tokens // length):
            padded = torch.full((len(bucket), length), pad)
            counts = torch.zeros(len(bucket), length)
            for row, (own, weight, _) in enumerate(bucket):
                padded[row, : len(own)] = torch.tensor(own)
                counts[row, : len(own)] = torch.tensor(weight)
            yield Talk(
                padded, counts, np.stack([pool.pixels(scene) for _, _, scenes in bucket for scene in scenes])
            )
            bucket.clear()
