"""Chat messages as they stand in JSON, for every route that takes a conversation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from quintet.core.content import Image, Message, Part, Role, ToolCall
from quintet.core.errors import InvalidRequest, Unsupported
from quintet.dialects.pictures import check_count, parse_picture
from quintet.dialects.validation import WireModel

MAX_MESSAGES = 2048
MAX_PARTS = 64
MAX_TOOL_CALLS = 128
MAX_TEXT_CHARACTERS = 2_000_000
"""All text of one request together; longer prompts would only keep the tokenizer busy."""


def _as_object(value: object) -> object:
    """A bare link is what some clients send where OpenAI has {"url": …}."""
    return {"url": value} if isinstance(value, str) else value


class PictureLink(WireModel):
    """Where a picture is: a data URL or a link."""

    url: str


class ContentPart(WireModel):
    """One piece of a message; which fields count depends on `type`."""

    type: Annotated[str, Field(max_length=64)]
    text: str | None = None
    refusal: str | None = None
    image_url: Annotated[PictureLink | None, BeforeValidator(_as_object)] = None


def _content_tag(value: object) -> str:
    return "(parts)" if isinstance(value, list) else "(text)"


Content = Annotated[
    Annotated[str, Tag("(text)")]
    | Annotated[list[ContentPart], Field(min_length=1, max_length=MAX_PARTS), Tag("(parts)")],
    Discriminator(_content_tag),
]


FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class CalledFunction(WireModel):
    """Which function was to be called, and with what; models don't always write valid JSON."""

    name: FunctionName
    arguments: str


class ToolCallBody(WireModel):
    """One call of a function that the assistant asked for."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(WireModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: Annotated[list[ToolCallBody], Field(max_length=MAX_TOOL_CALLS)] | None = None


Conversation = Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]


def to_messages(conversation: list[ChatMessage]) -> tuple[Message, ...]:
    """The conversation in the words of the house; raises InvalidRequest."""
    called: dict[str, str] = {}
    messages = tuple(_to_message(turn, f"messages[{i}]", called) for i, turn in enumerate(conversation))
    pictures = sum(isinstance(part, Image) for message in messages for part in message.parts)
    check_count(pictures, "messages")
    calls = sum(len(call.name) + len(call.arguments) for message in messages for call in message.tool_calls)
    check_length(sum(len(message.text) for message in messages) + calls, "messages")
    return messages


def check_length(characters: int, field: str) -> None:
    """Refuse text that no model here could read."""
    if characters > MAX_TEXT_CHARACTERS:
        raise InvalidRequest(
            f"`{field}` may hold at most {MAX_TEXT_CHARACTERS:,} characters of text. Shorten it.",
            param=field,
            code="context_length_exceeded",
        )


def _to_message(turn: ChatMessage, field: str, called: dict[str, str]) -> Message:
    """One turn; `called` are the calls so far, their functions by their ids, and grows."""
    role: Role = "system" if turn.role == "developer" else turn.role
    if role == "tool":
        return _to_answer(turn, field, called)
    if turn.tool_calls and role != "assistant":
        raise InvalidRequest(
            f"`{field}.tool_calls`: only assistant messages may hold tool calls. Remove them.",
            param=f"{field}.tool_calls",
        )
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments) for call in turn.tool_calls or ()
    )
    called.update((call.id, call.name) for call in calls)
    return Message(role=role, parts=_to_parts(turn, role, field), tool_calls=calls)


def _to_answer(turn: ChatMessage, field: str, called: dict[str, str]) -> Message:
    """What a function answered."""
    id = turn.tool_call_id
    if not id:
        raise InvalidRequest(
            f"`{field}.tool_call_id` is required in a tool message. Name the call it answers.",
            param=f"{field}.tool_call_id",
            code="missing_required_parameter",
        )
    if id not in called:
        raise InvalidRequest(
            f"`{field}.tool_call_id` must be the id of a call in an earlier assistant message's `tool_calls`. "
            "Send that message too.",
            param=f"{field}.tool_call_id",
        )
    parts = _to_parts(turn, "tool", field)
    return Message(role="tool", parts=parts, tool_call_id=id, name=turn.name or called[id])


def _to_parts(turn: ChatMessage, role: Role, field: str) -> tuple[Part, ...]:
    if turn.content is None:
        if role != "assistant":
            raise InvalidRequest(
                f"`{field}.content` is required. Send a string or an array of parts.",
                param=f"{field}.content",
                code="missing_required_parameter",
            )
        return ("",)
    if isinstance(turn.content, str):
        return (turn.content,)
    return tuple(_to_part(part, role, f"{field}.content[{i}]") for i, part in enumerate(turn.content))


def _to_part(part: ContentPart, role: Role, field: str) -> Part:
    match part.type:
        case "text":
            return _required(part.text, f"{field}.text")
        case "refusal":
            return _required(part.refusal, f"{field}.refusal")
        case "image_url":
            if role != "user":
                raise InvalidRequest(
                    f"`{field}`: only user messages may hold pictures. Move it to one.", param=field
                )
            link = _required(part.image_url.url if part.image_url else None, f"{field}.image_url")
            return parse_picture(link, f"{field}.image_url.url")
        case _:
            raise Unsupported(
                f"`{field}.type` must be text or image_url; other content is not supported. Remove it.",
                param=f"{field}.type",
            )


def _required(value: str | None, field: str) -> str:
    if value is None:
        raise InvalidRequest(
            f"`{field}` is required here. Add it to the request body.",
            param=field,
            code="missing_required_parameter",
        )
    return value
