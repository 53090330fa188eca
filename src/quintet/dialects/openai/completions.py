"""Answers of /v1/completions, whole and as a stream; one call may carry several prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quintet.core.errors import QuintetError
from quintet.core.events import (
    Choice,
    Event,
    Finished,
    Outcome,
    Prefill,
    PromptToken,
    Stopped,
    Token,
    Usage,
)
from quintet.core.requests import TextRequest
from quintet.dialects import sse
from quintet.dialects.base import Incoming, Reply
from quintet.dialects.errors import error_object
from quintet.dialects.openai.logprobs import REASONS, CompletionLogprobs
from quintet.dialects.openai.usage import FINGERPRINT, usage_object


class CompletionRenderer:
    """Renders one completion call. Choice `i * n + k` is the k-th answer to the i-th prompt."""

    stream_content_type = sse.CONTENT_TYPE

    def __init__(
        self,
        *,
        incoming: Incoming,
        requests: tuple[TextRequest, ...],
        model: str,
        echo: bool,
        include_usage: bool,
    ) -> None:
        """`model` is echoed as the caller wrote it; `echo` puts each prompt before its answers."""
        first = requests[0]
        self._requests = requests
        self._n = first.n
        self._echo = echo
        self._include_usage = include_usage
        self._wants_logprobs = first.detail.logprobs
        self._facts = {
            "id": f"cmpl-{incoming.request_id}",
            "object": "text_completion",
            "created": incoming.created,
            "model": model,
            "system_fingerprint": FINGERPRINT,
        }
        self._head = b"data: " + sse.escape_breaks(sse.encode_json(self._facts)[:-1]) + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._before_text = tuple(
            self._head + b'{"index":%d,"text":' % index for index in range(self._n * len(requests))
        )
        self._after_text = b',"logprobs":null,"finish_reason":null}' + self._tail
        self._opened = bytearray([not echo]) * len(self._before_text)
        self._logprobs = [CompletionLogprobs() for _ in self._before_text]
        self._prefills: dict[int, tuple[PromptToken, ...]] = {}
        self._usages: dict[int, Usage] = {}

    def whole(self, outcomes: Sequence[Outcome]) -> Reply:
        """The whole answer as one JSON object."""
        choices = [
            self._choice(index, k, outcome.choice(k), outcome.prefill)
            for index, outcome in enumerate(outcomes)
            for k in range(self._n)
        ]
        usage = usage_object(outcome.finished.usage for outcome in outcomes)
        return Reply(body=sse.encode_json({**self._facts, "choices": choices, "usage": usage}))

    def _choice(self, index: int, k: int, choice: Choice, prefill: tuple[PromptToken, ...]) -> dict[str, Any]:
        prompt = self._prompt_text(index, prefill) if self._echo else ""
        logprobs = CompletionLogprobs()
        self._add_prompt(logprobs, prompt, prefill)
        for token in choice.tokens:
            logprobs.add(token)
        return {
            "index": index * self._n + k,
            "text": prompt + choice.text,
            "logprobs": logprobs.take() if self._wants_logprobs else None,
            "finish_reason": REASONS[choice.reason],
        }

    def _prompt_text(self, index: int, prefill: tuple[PromptToken, ...]) -> str:
        request = self._requests[index]
        if request.prompt_ids:
            return "".join(token.text for token in prefill)
        return "".join(part for part in request.prompt if isinstance(part, str))

    def _add_prompt(
        self, logprobs: CompletionLogprobs, prompt: str, prefill: tuple[PromptToken, ...]
    ) -> None:
        if self._echo and self._wants_logprobs:
            for token in prefill:
                logprobs.add_prompt(token.text, token.logprob)
            logprobs.offset = len(prompt)

    def event(self, index: int, event: Event) -> bytes:
        """One chunk per token that shows something, one when a choice ends."""
        if type(event) is Token:
            return self._token(index, event)
        if type(event) is Stopped:
            place = index * self._n + event.choice
            return self._opening(index, place) + self._chunk(place, "", REASONS[event.reason])
        if type(event) is Prefill:
            self._prefills[index] = event.tokens
        elif type(event) is Finished:
            self._usages[index] = event.usage
        return b""

    def _token(self, index: int, token: Token) -> bytes:
        place = index * self._n + token.choice
        text = token.text
        opening = self._opening(index, place)
        if self._wants_logprobs:
            self._logprobs[place].add(token)
            return opening + self._chunk(place, text, None)
        if not text:
            return opening
        return opening + self._before_text[place] + sse.encode_text(text) + self._after_text

    def _opening(self, index: int, place: int) -> bytes:
        if self._opened[place]:
            return b""
        self._opened[place] = 1
        prefill = self._prefills.get(index, ())
        prompt = self._prompt_text(index, prefill)
        self._add_prompt(self._logprobs[place], prompt, prefill)
        return self._chunk(place, prompt, None)

    def _chunk(self, place: int, text: str, reason: str | None) -> bytes:
        logprobs = self._logprobs[place].take() if self._wants_logprobs and reason is None else None
        value = {"index": place, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return self._head + sse.escape_breaks(sse.encode_json(value)) + self._tail

    def end(self) -> bytes:
        """The usage chunk, if asked for, and the end mark."""
        if not self._include_usage:
            return sse.DONE
        usage = sse.encode_json(usage_object(self._usages.values()))
        return self._head + b'],"usage":' + usage + b"}\n\n" + sse.DONE

    def failure(self, error: QuintetError) -> bytes:
        """An error event; the missing end mark tells the rest."""
        return sse.data({"error": error_object(error, "openai")})
