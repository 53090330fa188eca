"""Answers of the routes for pictures, whole and as a stream of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from quintet.core.errors import QuintetError
from quintet.core.events import Event, Finished, Media, Outcome, Progress, Usage
from quintet.core.requests import ImageRequest
from quintet.dialects import sse
from quintet.dialects.base import Incoming, Reply
from quintet.dialects.drawing import as_base64, size_of
from quintet.dialects.errors import error_object

Kind = Literal["image_generation", "image_edit"]
_JPEG_START = b"\xff\xd8"


class PicturesRenderer:
    """Renders the pictures of one request.

    In a stream each picture is an event of its own as soon as it is there, in the order of their seeds. The last waits
    for the final count, which it carries; the counts of all events together are those of the whole answer.
    """

    stream_content_type = sse.CONTENT_TYPE

    def __init__(
        self,
        *,
        incoming: Incoming,
        request: ImageRequest,
        kind: Kind,
        as_url: bool,
        quality: str,
        partial_pictures: int,
        with_progress: bool,
    ) -> None:
        """`partial_pictures` is how many states of the work the stream shows."""
        self._created = incoming.created
        self._publish = incoming.publish
        self._kind = kind
        self._as_url = as_url
        self._count = request.images_per_prompt
        self._seed = request.seed
        self._asked_size = f"{request.width}x{request.height}" if request.width else "auto"
        self._settings = {"background": "opaque", "quality": quality}
        self._partials = _Partials(partial_pictures, request.images_per_prompt)
        self._with_progress = with_progress
        self._done = 0
        self._last: dict[str, Any] | None = None

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """All pictures."""
        (outcome,) = outcomes
        seed = outcome.finished.seed
        data = [
            {**self._file(media), **({} if seed is None else {"seed": seed + k})}
            for k, media in enumerate(outcome.media)
        ]
        body: dict[str, Any] = {"created": self._created, "data": data, **self._settings}
        if body["quality"] == "auto":  # a word for events alone
            del body["quality"]
        if outcome.media:
            body |= self._describe(outcome.media[0])
        body["usage"] = _usage(outcome.finished.usage)
        return Reply(body=sse.encode_json(body))

    def event(self, index: int, event: Event) -> bytes:
        """What a caller sees of one event."""
        if type(event) is Progress:
            return self._progress(event)
        if type(event) is Media:
            self._done += 1
            self._partials.go_on()
            picture = {**self._file(event), **self._describe(event)}
            if self._done < self._count:
                return self._completed(picture, Usage(), self._seed)
            self._last = picture
        elif type(event) is Finished and self._last is not None:
            return self._completed(self._last, event.usage, event.seed)
        return b""

    def end(self) -> bytes:
        """Nothing: the last picture ends the stream."""
        return b""

    def failure(self, error: QuintetError) -> bytes:
        """An event that OpenAI's clients raise."""
        return sse.data({"error": error_object(error, "openai")})

    def _progress(self, event: Progress) -> bytes:
        sent = b""
        if self._with_progress:
            kind = f"{self._kind}.progress"
            sent = sse.event(
                kind, {"type": kind, "stage": event.stage, "done": event.done, "total": event.total}
            )
        number = self._partials.take(event)
        if number is None:
            return sent
        kind = f"{self._kind}.partial_image"
        preview = {
            "type": kind,
            "b64_json": as_base64(event.preview),
            "partial_image_index": number,
            "created_at": self._created,
            "size": self._asked_size,
            "output_format": "jpeg" if event.preview.startswith(_JPEG_START) else "png",
            **self._settings,
        }
        return sent + sse.event(kind, preview)

    def _completed(self, picture: dict[str, Any], usage: Usage, first_seed: int | None) -> bytes:
        kind = f"{self._kind}.completed"
        seed = {} if first_seed is None else {"seed": first_seed + self._done - 1}
        done = {
            "type": kind,
            **picture,
            "created_at": self._created,
            **seed,
            **self._settings,
            "usage": _usage(usage),
        }
        return sse.event(kind, done)

    def _file(self, media: Media) -> dict[str, Any]:
        return {"url": self._publish(media)} if self._as_url else {"b64_json": as_base64(media.data)}

    def _describe(self, media: Media) -> dict[str, str]:
        size = size_of(media)
        return {
            "output_format": media.mime.removeprefix("image/"),
            "size": self._asked_size if size is None else f"{size[0]}x{size[1]}",
        }


class _Partials:
    """Chooses which of the states that the engine shows are sent: so many of each picture, evenly over its work."""

    def __init__(self, wanted: int, pictures: int) -> None:
        self._wanted = wanted
        self._pictures = pictures
        self._finished = 0
        self._sent = 0

    def take(self, event: Progress) -> int | None:
        """The number of this state if it is to be sent."""
        if not event.preview or event.total <= 0:
            return None
        share = event.done / event.total * self._pictures - self._finished
        # A little less will do: thirds of a third don't add up to one.
        if self._sent >= self._wanted or share + 1e-6 < (self._sent + 1) / (self._wanted + 1):
            return None
        self._sent += 1
        return self._sent - 1

    def go_on(self) -> None:
        """The next picture begins."""
        self._finished += 1
        self._sent = 0


def _usage(usage: Usage) -> dict[str, Any]:
    """Counted in OpenAI's words as far as they fit, and in ours: pictures aren't made of tokens here."""
    tokens = usage.prompt_tokens
    return {
        "input_tokens": tokens,
        "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
        "output_tokens": 0,
        "total_tokens": tokens,
        "images": usage.images,
        "pixel_steps": usage.pixel_steps,
    }
