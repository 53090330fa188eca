"""The pieces of a streamed answer as events of the house. No I/O, no clock.

Servers send text, not tokens: a piece without log-probabilities becomes one `Token`, whose id is 0 because nobody said
it. With log-probabilities every token comes by itself, with its id if the server tells it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from quintet.core.errors import EngineFailed
from quintet.core.events import Event, Finished, FinishReason, Stopped, Timings, Token, ToolCallPart, Usage
from quintet.engines.upstream.body import Asking
from quintet.engines.upstream.failures import broken
from quintet.engines.upstream.logprobs import read_entries
from quintet.engines.upstream.sse import malformed

_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_MAX_CALLS = 128
_MAX_PIECES_PER_TOKEN, _MAX_MORE_PIECES = 4, 256
"""A server that sends more pieces than that for the tokens asked for has lost its way."""
_MAX_CHARACTERS_PER_PIECE = 64
"""On the average of the whole answer."""
_MAX_TOKENS = 65_536
"""Of a choice for which neither the caller nor the server has a limit."""


@dataclass(slots=True)
class _Choice:
    """How far one choice is."""

    index: int
    tail: str = ""
    """The end of its text, where a stop string may have begun."""
    pieces: int = 0
    characters: int = 0
    tokens: int = 0
    calls: int = 0
    logprobs: tuple[float, int] = (0.0, 0)
    """Their sum and number."""
    is_over: bool = False
    counted: tuple[int, int, int] = (0, 0, 0)
    """Prompt tokens, cached ones, and new ones, as the server counted them for this choice."""


class Answer:
    """Reads one answer."""

    def __init__(self, asking: Asking, context_length: int = 0) -> None:
        """`context_length` is the server's; 0 = unknown."""
        self._asking = asking
        self._choices = [_Choice(index) for index in range(asking.request.n)]
        self._usages: list[Usage] = []
        """Those of no choice: one for all of them, or (llama.cpp) one for each."""
        limit = asking.request.limits.max_new_tokens or context_length or _MAX_TOKENS
        self._most = limit * _MAX_PIECES_PER_TOKEN + _MAX_MORE_PIECES

    @property
    def is_over(self) -> bool:
        """Whether every choice has ended; only the usage may still come."""
        return all(choice.is_over for choice in self._choices)

    @property
    def has_stopped_itself(self) -> bool:
        """Whether we know the end before the server does, so that the stream can be closed."""
        return self.is_over and bool(self._asking.stops)

    def take(self, chunk: dict[str, Any]) -> list[Event]:
        """The events of one piece; raises EngineFailed if it makes no sense."""
        entries = chunk.get("choices")
        if not isinstance(entries, list):
            raise malformed()
        events: list[Event] = []
        for entry in entries:
            if not isinstance(entry, dict):
                raise malformed()
            index = entry.get("index", 0)
            if type(index) is not int or not 0 <= index < len(self._choices):
                raise malformed()
            choice = self._choices[index]
            self._count(choice, chunk)
            if not choice.is_over:
                events.extend(self._take_choice(choice, entry))
        if not entries and isinstance(chunk.get("usage"), dict):
            self._usages = [*self._usages, _usage(chunk["usage"])][-len(self._choices) :]
        return events

    def end(self, prefill_seconds: float, decode_seconds: float) -> Finished:
        """The last event; raises WorkerLost if the answer is not complete."""
        if not self.is_over:
            raise broken()
        return Finished(
            usage=self._counted(),
            timings=Timings(prefill=prefill_seconds, decode=decode_seconds),
            seed=self._asking.seed,
        )

    def _take_choice(self, choice: _Choice, entry: dict[str, Any]) -> list[Event]:
        choice.pieces += 1
        delta = entry.get("delta", entry)
        if not isinstance(delta, dict):
            raise malformed()
        events: list[Event] = list(self._tokens(choice, delta, entry))
        events.extend(_call_parts(choice, delta.get("tool_calls")))
        choice.characters += sum(map(_characters, events))
        if choice.pieces > self._most or choice.characters > self._most * _MAX_CHARACTERS_PER_PIECE:
            raise EngineFailed("The server behind this model said more than it was asked for; try again.")
        reason = entry.get("finish_reason")
        if choice.is_over:  # by a stop string of ours
            events.append(self._stopped(choice, "stop"))
        elif isinstance(reason, str):
            choice.is_over = True
            events.append(self._stopped(choice, self._reason(reason, entry)))
        return events

    def _tokens(self, choice: _Choice, delta: dict[str, Any], entry: dict[str, Any]) -> list[Token]:
        text = delta.get("content") if "content" in delta or "delta" in entry else delta.get("text")
        if not isinstance(text, str | None):
            raise malformed()
        text = text or ""
        detail = self._asking.request.detail
        entries = []
        if detail.logprobs or detail.top_logprobs:
            entries = read_entries(entry.get("logprobs"), detail.top_logprobs, entry.get("token_ids"))
        if not entries:
            has_more = any(delta.get(name) for name in ("reasoning_content", "reasoning", "tool_calls"))
            found = [Token(choice.index, 0, text)] if text or has_more else []
        else:
            pieces = [read.raw.decode(errors="replace") for read in entries]
            if (
                "".join(pieces) != text
            ):  # a character that took several tokens, or text cut off at a stop string
                pieces = [""] * (len(entries) - 1) + [text]
            found = [
                Token(choice.index, read.id, piece, False, read.logprob, read.raw, read.top)
                for read, piece in zip(entries, pieces, strict=True)
            ]
            total, number = choice.logprobs
            choice.logprobs = (total + sum(read.logprob for read in entries), number + len(entries))
        kept = self._stop(choice, found) if self._asking.stops else found
        choice.tokens += len(kept)
        return kept

    def _stop(self, choice: _Choice, tokens: list[Token]) -> list[Token]:
        """The tokens up to the first stop string, which stays."""
        longest = max(map(len, self._asking.stops))
        for place, token in enumerate(tokens):
            text = choice.tail + token.text
            ends = [text.index(stop) + len(stop) for stop in self._asking.stops if stop in text]
            if ends:
                choice.is_over = True
                shown = token.text[: max(0, min(ends) - len(choice.tail))]
                last = Token(choice.index, token.id, shown, False, token.logprob, token.raw, token.top)
                return [*tokens[:place], last]
            choice.tail = text[-longest:]
        return tokens

    def _reason(self, reason: str, entry: dict[str, Any]) -> FinishReason:
        """Why it ended. "stop" may mean a stop string or the end of the sequence; few servers say which."""
        if reason != "stop":
            return _REASONS.get(reason, "stop")
        if isinstance(entry.get("stop_reason"), str):
            return "stop"
        asked = self._asking.request.limits.stop and not self._asking.stops
        return "stop" if asked and "stop_reason" not in entry else "eos"

    def _stopped(self, choice: _Choice, reason: FinishReason) -> Stopped:
        total, number = choice.logprobs
        mean = total / number if number else None
        return Stopped(choice.index, reason, mean)

    def _count(self, choice: _Choice, chunk: dict[str, Any]) -> None:
        """Note what a piece says about counts for its own choice."""
        if isinstance(usage := chunk.get("usage"), dict):
            found = _usage(usage)
            choice.counted = (found.prompt_tokens, found.cached_tokens, found.completion_tokens)
        elif isinstance(timings := chunk.get("timings"), dict) and not choice.is_over:
            cached = _number(timings.get("cache_n"))
            choice.counted = (
                cached + _number(timings.get("prompt_n")),
                cached,
                _number(timings.get("predicted_n")),
            )

    def _counted(self) -> Usage:
        """What was delivered, where no piece told the whole: the server's counts per choice, or else ours."""
        if len(self._usages) == 1:
            return self._usages[0]
        if self._usages:
            first = self._usages[0]
            return replace(first, completion_tokens=sum(usage.completion_tokens for usage in self._usages))
        return Usage(
            prompt_tokens=max(choice.counted[0] for choice in self._choices),
            cached_tokens=max(choice.counted[1] for choice in self._choices),
            completion_tokens=sum(choice.counted[2] or choice.tokens for choice in self._choices),
        )


def _characters(event: Event) -> int:
    if isinstance(event, Token):
        return len(event.text)
    return len(event.arguments) if isinstance(event, ToolCallPart) else 0


def _call_parts(choice: _Choice, calls: object) -> list[Event]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise malformed()
    events: list[Event] = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise malformed()
        index = call.get("index", choice.calls if function.get("name") else choice.calls - 1)
        words = [call.get("id") or "", function.get("name") or "", function.get("arguments") or ""]
        if type(index) is not int or not all(isinstance(word, str) for word in words):
            raise malformed()
        if index == choice.calls < _MAX_CALLS and words[1]:
            choice.calls += 1
            name = words[0] or f"call_{choice.index}_{index}"
            events.append(ToolCallPart(choice.index, index, name, words[1], words[2]))
        elif 0 <= index < choice.calls:
            events.append(ToolCallPart(choice.index, index, "", "", words[2]))
        else:
            raise malformed()
    return events


def _usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(
        prompt_tokens=_number(usage.get("prompt_tokens")),
        cached_tokens=_number(cached),
        completion_tokens=_number(usage.get("completion_tokens")),
    )


def _number(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**40 else 0
