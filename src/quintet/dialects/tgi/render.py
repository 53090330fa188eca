"""Answers of /generate, whole and as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quintet.core.errors import QuintetError
from quintet.core.events import (
    Alternative,
    Choice,
    Event,
    Finished,
    FinishReason,
    Outcome,
    PromptToken,
    Stopped,
    Token,
)
from quintet.core.requests import TextRequest
from quintet.dialects import sse
from quintet.dialects.base import Reply

REASONS: dict[FinishReason, str] = {
    "stop": "stop_sequence",
    "eos": "eos_token",
    "length": "length",
    "tool_calls": "eos_token",
}
_FLOOR = -9999.0


class GenerateRenderer:
    """Renders one generation.

    The last event of a stream carries the whole text beside its token. A token that may be the last one (special,
    ending in a stop string, at the length limit) therefore waits for what follows; all others go out at once.
    """

    stream_content_type = sse.CONTENT_TYPE

    def __init__(
        self,
        *,
        request: TextRequest,
        inputs: str,
        as_list: bool,
        details: bool,
        full_text: bool,
        samples: bool,
    ) -> None:
        """`inputs` is the prompt as sent; `full_text` puts it before the answer; `samples` shows the seed."""
        # Not the request itself: pictures in it need not wait for the end of the answer.
        self._n = request.n
        self._limits = request.limits
        self._prefix = inputs if full_text else ""
        self._characters = len(inputs)
        self._as_list = as_list
        self._details = details
        self._samples = samples
        self._with_top = request.detail.top_logprobs > 0
        self._text: list[str] = []
        self._tail = ""
        self._longest_stop = max((len(stop) for stop in request.limits.stop), default=0)
        self._count = 0
        self._waiting: Token | None = None
        self._reason: FinishReason = "stop"

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """One object, or a list with it; the best of several choices comes first."""
        outcome = outcomes[0]
        choices = [outcome.choice(index) for index in range(self._n)]
        best, *others = sorted(choices, key=_rank)
        answer: dict[str, Any] = {"generated_text": self._prefix + _visible(best)}
        if self._details:
            answer["details"] = self._sequence(best, outcome)
            if others:
                answer["details"]["best_of_sequences"] = [
                    {"generated_text": self._prefix + _visible(other), **self._sequence(other, outcome)}
                    for other in others
                ]
        body = sse.encode_json([answer] if self._as_list else answer)
        return Reply(body=body, headers=self._headers(outcome.finished, len(best.tokens)))

    def _sequence(self, choice: Choice, outcome: Outcome) -> dict[str, Any]:
        details: dict[str, Any] = {
            "finish_reason": REASONS[choice.reason],
            "generated_tokens": len(choice.tokens),
            "seed": self._seed(outcome.finished),
            "prefill": [_prompt_token(token) for token in outcome.prefill],
            "tokens": [_token(token) for token in choice.tokens],
        }
        if self._with_top:
            details["top_tokens"] = [[_alternative(other) for other in token.top] for token in choice.tokens]
        return details

    def _seed(self, finished: Finished) -> int | None:
        return finished.seed if self._samples else None

    def _headers(self, finished: Finished, generated: int) -> tuple[tuple[str, str], ...]:
        times, usage = finished.timings, finished.usage
        inference = times.prefill + times.decode
        total = times.queue + inference
        values = {
            "x-compute-type": "unknown",
            "x-compute-time": f"{total:.6f}",
            "x-compute-characters": self._characters,
            "x-total-time": round(total * 1000),
            "x-validation-time": 0,
            "x-queue-time": round(times.queue * 1000),
            "x-inference-time": round(inference * 1000),
            "x-time-per-token": round(inference * 1000 / max(generated, 1)),
            "x-prompt-tokens": usage.prompt_tokens,
            "x-generated-tokens": usage.completion_tokens,
        }
        return tuple((name, str(value)) for name, value in values.items())

    def event(self, index: int, event: Event) -> bytes:
        """One event per token; the last one, with the whole text, when the request is done."""
        if type(event) is Token:
            return self._token(event)
        if type(event) is Stopped:
            self._reason = event.reason
        elif type(event) is Finished:
            return self._last(event)
        return b""

    def _token(self, token: Token) -> bytes:
        earlier = b"" if self._waiting is None else self._plain(self._waiting)
        self._waiting = None
        self._count += 1
        if not token.special:
            self._text.append(token.text)
        if self._may_be_last(token):
            self._waiting = token
            return earlier
        return earlier + self._plain(token, self._count)

    def _may_be_last(self, token: Token) -> bool:
        if token.special or self._count == self._limits.max_new_tokens:
            return True
        if not self._longest_stop:
            return False
        self._tail = (self._tail + token.text)[-self._longest_stop - len(token.text) :]
        return any(stop in self._tail for stop in self._limits.stop)

    def _plain(self, token: Token, index: int | None = None) -> bytes:
        head = b'data: {"index":%d,"token":' % (self._count if index is None else index)
        return head + self._body(token) + b',"generated_text":null,"details":null}\n\n'

    def _body(self, token: Token) -> bytes:
        body = b'{"id":%d,"text":' % token.id + sse.encode_text(token.text) + b',"logprob":'
        body += sse.encode_json(_bounded(token.logprob))
        body += b',"special":true}' if token.special else b',"special":false}'
        if self._with_top:
            body += b',"top_tokens":' + sse.escape_breaks(
                sse.encode_json([_alternative(other) for other in token.top])
            )
        return body

    def _last(self, finished: Finished) -> bytes:
        token = self._waiting
        if token is None:
            # The answer ended after a token that was already sent (a full context): an empty one closes it.
            token = Token(choice=0, id=0, text="", special=True, logprob=0.0)
            index = self._count + 1
        else:
            index = self._count
        details = None
        if self._details:
            details = {
                "finish_reason": REASONS[self._reason],
                "generated_tokens": self._count,
                "seed": self._seed(finished),
                "input_length": finished.usage.prompt_tokens,
            }
        return (
            b'data: {"index":%d,"token":' % index
            + self._body(token)
            + b',"generated_text":'
            + sse.encode_text(self._prefix + "".join(self._text))
            + b',"details":'
            + sse.encode_json(details)
            + b"}\n\n"
        )

    def end(self) -> bytes:
        """Nothing: the last event says it all."""
        return b""

    def failure(self, error: QuintetError) -> bytes:
        """An event in the form that TGI's clients raise on."""
        return sse.data({"error": error.message, "error_type": "incomplete_generation_stream"})


def _rank(choice: Choice) -> float:
    """Sorts the likeliest choice first; a choice without a probability last."""
    return float("inf") if choice.mean_logprob is None else -choice.mean_logprob


def _visible(choice: Choice) -> str:
    return "".join(token.text for token in choice.tokens if not token.special)


def _bounded(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, _FLOOR)


def _token(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "text": token.text,
        "logprob": _bounded(token.logprob),
        "special": token.special,
    }


def _prompt_token(token: PromptToken) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": _bounded(token.logprob)}


def _alternative(other: Alternative) -> dict[str, Any]:
    text = other.raw.decode("utf-8", errors="replace")
    return {"id": other.id, "text": text, "logprob": _bounded(other.logprob), "special": False}
