"""Pictures in a prompt: where their tokens stand, and how a text that only spells the placeholder stays a text.

A template writes one placeholder per picture; it becomes as many tokens as the family says. What people write is
never a placeholder: `<image>` in a message is read as the seven characters it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import PIL.Image
from PIL.Image import Image as Picture

from quintet.core.content import Image, Message, Part, ToolCall
from quintet.core.errors import InvalidRequest
from quintet.core.requests import Tool
from quintet.engines.text.executor import Places
from quintet.engines.text.vision.family import Family, Layout, Rows
from quintet.engines.text.vocabulary import Vocabulary

MAX_SPELLED = 100
"""How often a prompt may spell the placeholder: each time is one more text to tokenise."""


@dataclass(slots=True, eq=False)
class Placed:
    """One picture at its place in a prompt."""

    digest: bytes
    """Of the file: equal pictures have equal embeddings, whatever their place."""
    data: bytes
    """The PNG."""
    size: tuple[int, int]
    """Width and height in pixels."""
    layout: Layout
    start: int
    """Index of its first token in the prompt."""
    slots: Places
    """Indices in the prompt of the tokens that its rows replace, ascending."""
    field: str = ""
    """Where it stood in the caller's body."""
    rows: Rows | None = None
    """Its embeddings, once it was looked at."""

    @property
    def end(self) -> int:
        """Index behind its last token."""
        return self.start + len(self.layout.ids)

    def part(self, past: int, count: int) -> tuple[Places, Rows] | None:
        """Its rows among tokens [past, past + count): their indices in that stretch, and the rows; None if none."""
        first, last = np.searchsorted(self.slots, (past, past + count))
        if first == last:
            return None
        if self.rows is None:
            raise AssertionError("a picture is read before it was looked at")
        return self.slots[first:last] - past, self.rows[first:last]


class Placer:
    """Finds the places of pictures in the prompts of one model. Thread-safe."""

    def __init__(self, family: Family, vocabulary: Vocabulary) -> None:
        self._family = family
        self._vocabulary = vocabulary
        self._marker = vocabulary.text(family.token)
        self._hidden = f"\ue000{secrets.token_hex(8)}\ue001"

    def hide(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with spelled placeholders put out of the template's sight; raises InvalidRequest."""
        hidden = [
            replace(
                message,
                parts=self._hide_parts(message.parts),
                name=self._hide(message.name),
                tool_calls=tuple(map(self._hide_call, message.tool_calls)),
            )
            for message in messages
        ]
        texts = [(one.text, one.name, *(call.arguments for call in one.tool_calls)) for one in hidden]
        self._check_spelled([text for some in texts for text in some], "messages")
        return hidden

    def hide_tools(self, tools: Sequence[Tool]) -> tuple[Tool, ...]:
        """The same for tools that a template shows; raises InvalidRequest."""
        hidden = tuple(
            replace(
                tool, description=self._hide(tool.description), parameters=self._hide_json(tool.parameters)
            )
            for tool in tools
        )
        self._check_spelled(
            [text for tool in hidden for text in (tool.description, tool.parameters)], "tools"
        )
        return hidden

    def text_of(self, prompt: Sequence[Part]) -> str:
        """A raw prompt with a placeholder for every picture; raises InvalidRequest."""
        hidden = self._hide_parts(prompt)
        self._check_spelled([part for part in hidden if isinstance(part, str)], "prompt")
        return "".join(part if isinstance(part, str) else self._family.markup for part in hidden)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The ids of a text whose pictures are placeholders and whose spelled placeholders are hidden."""
        head, tail = self._marker[:1], self._marker[1:]
        pieces = text.split(self._hidden)
        ids: list[int] = []
        for number, piece in enumerate(pieces):
            whole = (tail if number else "") + piece + (head if number + 1 < len(pieces) else "")
            ids += self._vocabulary.encode(whole, add_special_tokens=add_special_tokens and not number)
        return ids

    def reveal(self, text: str) -> str:
        """A text with its hidden placeholders spelled again."""
        return text.replace(self._hidden, self._marker)

    def place(
        self, ids: Sequence[int], pictures: Sequence[Image], field: str
    ) -> tuple[list[int], list[Placed]]:
        """The ids with every placeholder grown to the tokens of its picture; raises InvalidRequest."""
        token = self._family.token
        places = [index for index, id in enumerate(ids) if id == token]
        if len(places) != len(pictures):
            raise InvalidRequest(
                f"`{field}` holds {len(pictures)} pictures, but this model's template has places for {len(places)}; "
                "put all pictures into the user's messages.",
                param=field,
            )
        grown: list[int] = []
        placed: list[Placed] = []
        done = 0
        for place, picture in zip(places, pictures, strict=True):
            grown += ids[done:place]
            done = place + 1
            name = picture.field or field
            with open_png(picture.data, name) as opened:
                size = opened.size
            layout = self._lay_out(size, name)
            slots = len(grown) + np.flatnonzero(np.asarray(layout.ids) == token).astype(np.int64)
            digest = hashlib.blake2b(picture.data, digest_size=16).digest()
            placed.append(Placed(digest, picture.data, size, layout, len(grown), slots, name))
            grown += layout.ids
        grown += ids[done:]
        return grown, placed

    def _lay_out(self, size: tuple[int, int], field: str) -> Layout:
        try:
            return self._family.layout(*size)
        except InvalidRequest as error:
            raise InvalidRequest(f"`{field}`: {error.message}", param=field, code=error.code) from error

    def _hide(self, text: str) -> str:
        return text.replace(self._marker, self._hidden)

    def _hide_parts(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Texts that follow each other become one if a placeholder is spelled: it may be spread over them."""
        if self._marker not in "".join(part for part in parts if isinstance(part, str)):
            return tuple(parts)
        hidden: list[Part] = []
        for is_text, run in groupby(parts, lambda part: isinstance(part, str)):
            if is_text:
                hidden.append(self._hide("".join(map(str, run))))
            else:
                hidden.extend(run)
        return tuple(hidden)

    def _hide_call(self, call: ToolCall) -> ToolCall:
        return replace(call, arguments=self._hide_json(call.arguments))

    def _hide_json(self, text: str) -> str:
        """JSON may spell a placeholder with escapes, which the template would see resolved."""
        try:
            plain = json.dumps(json.loads(text), ensure_ascii=False)
        except (ValueError, RecursionError):
            plain = text
        return self._hide(plain) if self._marker in plain else text

    def _check_spelled(self, hidden: Sequence[str], field: str) -> None:
        if sum(text.count(self._hidden) for text in hidden) > MAX_SPELLED:
            raise InvalidRequest(
                f"`{field}` may spell {self._marker} at most {MAX_SPELLED} times; to send a picture, use the API's "
                "form for pictures.",
                param=field,
            )


def keep_last(ids: list[int], placed: Sequence[Placed], count: int) -> tuple[list[int], list[Placed]]:
    """The last `count` ids, or fewer, so that no picture is cut: one that would be is left out whole."""
    cut = max(0, len(ids) - count)
    cut = max([cut, *(one.end for one in placed if one.start < cut < one.end)])
    kept = [replace(one, start=one.start - cut, slots=one.slots - cut) for one in placed if one.start >= cut]
    return ids[cut:], kept


@contextmanager
def open_png(data: bytes, field: str) -> Iterator[Picture]:
    """A PNG that is read within the block; raises InvalidRequest, which names `field`, where it can't be."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            yield opened
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise InvalidRequest(
            f"`{field}` is not a picture that can be read. Send a JPEG, PNG or WebP file.",
            param=field,
            code="image_decode_failed",
        ) from error
