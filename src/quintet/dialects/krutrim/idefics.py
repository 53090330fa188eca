"""Questions about pictures, in the two forms that releases of the SDK send; several of them run side by side.

Strings: a picture's place is written <image>, and an entry without any words belongs to the next one with words, so
["<image>", "What city?", "<image>", "What bridge?"] asks twice. Turns: every User turn that no Assistant turn
leads to begins a new conversation, so [User, User] asks twice, and [User, Assistant, User] once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quintet.core.content import Image, Message, Part, Role
from quintet.core.errors import InvalidRequest, QuintetError, Unsupported
from quintet.core.events import Event, Outcome
from quintet.core.requests import Limits, Sampling, TextRequest
from quintet.dialects import sse
from quintet.dialects.base import Call, Incoming, Reply
from quintet.dialects.conversation import check_length
from quintet.dialects.krutrim.wire import IdeficsBody, IdeficsTurn
from quintet.dialects.pictures import check_count, parse_encoded
from quintet.dialects.validation import check

PLACE = "<image>"
DEFAULT_NEW_TOKENS = 50
"""The one number that the SDK's documentation gives."""
MAX_PROMPTS = 4
"""Conversations per call."""
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}

Conversation = tuple[Message, ...]


def parse_idefics(incoming: Incoming) -> Call:
    """POST /v1/multimodal/generations/idefics."""
    body = check(IdeficsBody, incoming.body)
    conversations = _read_prompts(body)
    if len(conversations) > MAX_PROMPTS:
        raise InvalidRequest(
            f"`prompts` may ask for at most {MAX_PROMPTS} texts. Send the others in another call.",
            param="prompts",
        )
    characters = sum(len(message.text) for messages in conversations for message in messages)
    check_length(characters, "prompts")
    most = DEFAULT_NEW_TOKENS if body.maxTokens is None else body.maxTokens
    requests = tuple(
        TextRequest(
            model=body.modelName,
            messages=messages,
            # There is nothing to set on the wire, so it is the likeliest text, as where `generate` is told nothing.
            sampling=Sampling(temperature=0.0),
            limits=Limits(max_new_tokens=most),
        )
        for messages in conversations
    )
    return Call(requests=requests, renderer=IdeficsRenderer(len(requests)))


def _read_prompts(body: IdeficsBody) -> list[Conversation]:
    slots = _read_images(body)
    prompts: Any = body.prompts  # the schema has told the two forms apart; the first entry says which it is
    return _from_strings(prompts, slots) if isinstance(prompts[0], str) else _from_turns(prompts, slots)


def _read_images(body: IdeficsBody) -> list[list[Image]]:
    """The pictures of every entry; there is at least one picture in all."""
    if len(body.images) != len(body.prompts):
        raise InvalidRequest(
            f"`images` must have one list for each of the {len(body.prompts)} entries of `prompts`, an empty one "
            f"where there is no picture, but it has {len(body.images)}.",
            param="images",
        )
    total = sum(map(len, body.images))
    if not total:
        raise InvalidRequest(
            "`images` holds no picture. Send one, or ask /v1/chat/completions about text alone.",
            param="images",
        )
    check_count(total, "images")
    return [
        [parse_encoded(encoded, f"images[{i}][{k}]") for k, encoded in enumerate(slot)]
        for i, slot in enumerate(body.images)
    ]


def _from_strings(prompts: Sequence[str], slots: Sequence[list[Image]]) -> list[Conversation]:
    conversations: list[Conversation] = []
    waiting: list[Part] = []
    for i, (prompt, pictures) in enumerate(zip(prompts, slots, strict=True)):
        texts = prompt.split(PLACE)
        _check_places(len(texts) - 1, len(pictures), f"prompts[{i}]", f"images[{i}]", f"{PLACE} in it")
        for text, picture in zip(texts, [*pictures, None], strict=True):
            if text and not text.isspace():
                waiting.append(text)
            if picture is not None:
                waiting.append(picture)
        if any(text and not text.isspace() for text in texts):
            conversations.append((Message("user", tuple(waiting)),))
            waiting = []
    if waiting:
        conversations.append((Message("user", tuple(waiting)),))
    return conversations


def _from_turns(turns: Sequence[IdeficsTurn], slots: Sequence[list[Image]]) -> list[Conversation]:
    conversations: list[list[Message]] = []
    for i, (turn, pictures) in enumerate(zip(turns, slots, strict=True)):
        message = _to_message(turn, pictures, i)
        previous = conversations[-1][-1].role if conversations else None
        opens = message.role == "system" or (message.role == "user" and previous == "user")
        if previous is None or opens:
            _check_end(previous, i - 1)
            conversations.append([])
        conversations[-1].append(message)
    _check_end(conversations[-1][-1].role, len(turns) - 1)
    return [tuple(messages) for messages in conversations]


def _to_message(turn: IdeficsTurn, pictures: Sequence[Image], i: int) -> Message:
    field = f"prompts[{i}]"
    role = _ROLES.get(turn.role.lower())
    if role is None:
        raise InvalidRequest(
            f"`{field}.role` must be User, Assistant or System. Change it.", param=f"{field}.role"
        )
    kinds = [part.type for part in turn.content]
    if role != "user" and "image" in kinds:
        raise InvalidRequest(f"`{field}`: only User turns may hold pictures. Move it to one.", param=field)
    _check_places(kinds.count("image"), len(pictures), field, f"images[{i}]", 'parts {"type": "image"}')
    left = iter(pictures)
    parts: list[Part] = []
    for k, part in enumerate(turn.content):
        place = f"{field}.content[{k}]"
        if part.type == "image":
            parts.append(next(left))
        elif part.type != "text":
            raise Unsupported(f"`{place}.type` must be text or image. Change it.", param=f"{place}.type")
        elif part.text is None:
            raise InvalidRequest(
                f"`{place}.text` is required here. Add it to the request body.",
                param=f"{place}.text",
                code="missing_required_parameter",
            )
        else:
            parts.append(part.text)
    return Message(role, tuple(parts))


def _check_places(places: int, pictures: int, prompt: str, images: str, word: str) -> None:
    if places != pictures:
        raise InvalidRequest(
            f"`{images}` holds {pictures} pictures, but `{prompt}` has places for {places} ({word}). "
            "Send as many of the one as of the other.",
            param=images,
        )


def _check_end(role: Role | None, i: int) -> None:
    if role not in (None, "user"):
        raise InvalidRequest(
            f"`prompts[{i}]` ends a conversation, so it must be a User turn. Ask something after it.",
            param=f"prompts[{i}]",
        )


class IdeficsRenderer:
    """Renders the texts of one call. There is no stream on the wire; one would be the whole answer as one piece."""

    stream_content_type = "application/json"

    def __init__(self, count: int) -> None:
        """`count` is how many conversations the call has."""
        self._outcomes = [Outcome() for _ in range(count)]

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The texts, in the order of the questions."""
        texts = [outcome.choice(0).text for outcome in outcomes]
        return Reply(body=sse.encode_json({"generated_texts": texts}))

    def event(self, index: int, event: Event) -> bytes:
        """Nothing yet: all texts come together."""
        self._outcomes[index].add(event)
        return b""

    def end(self) -> bytes:
        """The whole answer."""
        return self.whole(self._outcomes).body

    def failure(self, error: QuintetError) -> bytes:
        """Nothing: JSON that breaks off looks broken."""
        return b""
