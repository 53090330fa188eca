"""Text jobs: the words of the prompt come back one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from quintet.core.errors import ContextTooLong, InvalidRequest, Unsupported
from quintet.core.events import (
    Event,
    Finished,
    FinishReason,
    Prefill,
    PromptToken,
    Stopped,
    Token,
    Tokenized,
    Usage,
)
from quintet.core.models import Model
from quintet.core.requests import TextRequest, TokenizeRequest
from quintet.engines.echo import words


def check_text(request: TextRequest, model: Model) -> tuple[str, int]:
    """The prompt as one text and the number of its tokens; raises what only an engine can judge."""
    has_picture = any(
        not isinstance(part, str)
        for parts in (request.prompt, *(message.parts for message in request.messages))
        for part in parts
    )
    if has_picture and not model.can_see:
        raise Unsupported("This model can't look at pictures; leave them out or choose a vision model.")
    if request.tool_use is not None and request.tool_use.choice != "none":
        raise Unsupported(
            "This model can't call tools; leave them out or choose another model.", param="tools"
        )
    for name, ids in (
        ("prompt", request.prompt_ids),
        ("logit_bias", [token for token, _ in request.sampling.logit_bias]),
    ):
        if any(not 0 <= token < words.VOCABULARY_SIZE for token in ids):
            raise InvalidRequest(f"{name} names a token id outside this model's vocabulary.", param=name)
    if request.prompt_ids:
        prompt = " ".join(f"#{token}" for token in request.prompt_ids)
    else:
        prompt = words.render(request.messages) if request.messages else words.flatten(request.prompt)
    count = len(words.spans(prompt))
    if request.limits.truncate is not None and count > request.limits.truncate:
        kept = words.spans(prompt)[-request.limits.truncate :]
        prompt, count = prompt[kept[0].start :], len(kept)
    longest = model.max_input_tokens or model.context_length - 1
    if count > longest:
        raise ContextTooLong(
            f"The prompt has {count} tokens, but this model takes at most {longest}; shorten it.",
            param="messages" if request.messages else "prompt",
            facts={"prompt_tokens": count, "max_prompt_tokens": longest},
        )
    return prompt, count


def answer_words(request: TextRequest, prompt: str) -> list[str]:
    """What is to be said: the last user message, or the raw prompt."""
    if not request.messages:
        return prompt.split()
    said = [message for message in request.messages if message.role == "user"] or list(request.messages)
    return words.flatten(said[-1].parts).split()


def text_job(request: TextRequest, model: Model) -> Iterator[list[Event]]:
    """One list of events per step: the next token of every choice. Checks before the first step."""
    prompt, prompt_tokens = check_text(request, model)
    vocabulary = answer_words(request, prompt)
    if model.options.get("faults") is True:
        vocabulary = [word for word in vocabulary if not word.startswith("!")]
    room = model.context_length - prompt_tokens
    most = min(request.limits.max_new_tokens or room, room)
    endless = request.limits.ignore_eos or bool(model.options.get("cycle", False))
    if bool(model.options.get("numbered", False)):
        mark = vocabulary[0] if vocabulary else "echo"
        vocabulary = [f"{mark}:{number}" for number in range(most)]
    choices = [
        _Choice(index, request, _take(vocabulary, index, most, endless=endless)) for index in range(request.n)
    ]
    return _speak(request, choices, prompt, prompt_tokens)


def tokenize_job(request: TokenizeRequest) -> Iterator[list[Event]]:
    """The tokens of a prompt or a rendered conversation, in one step."""
    text = words.render(request.messages) if request.messages else request.prompt
    tokens = words.spans(text)
    return iter([[Tokenized(tokens, text), Finished(usage=Usage(prompt_tokens=len(tokens)))]])


def _take(vocabulary: list[str], turn: int, most: int, *, endless: bool) -> tuple[list[str], FinishReason]:
    """The words of one choice (later choices start later), and why it ends."""
    vocabulary = vocabulary or (["echo"] if endless else [])
    if not vocabulary:
        return [], "eos"
    turn %= len(vocabulary)
    turned = vocabulary[turn:] + vocabulary[:turn]
    if endless:
        turned *= -(-most // len(turned))
    return turned[:most], "length" if endless or len(turned) >= most else "eos"


def _speak(
    request: TextRequest, choices: list[_Choice], prompt: str, prompt_tokens: int
) -> Iterator[list[Event]]:
    opening: list[Event] = []
    if request.detail.prefill:
        seed = request.sampling.seed or 0
        tokens = (
            PromptToken(span.id, span.text, words.logprob(seed, -position, span.id) if position else None)
            for position, span in enumerate(words.spans(prompt))
        )
        opening.append(Prefill(tuple(tokens)))
    events = opening
    while any(not choice.ended for choice in choices):
        for choice in choices:
            events.extend(choice.advance())
        if all(choice.ended for choice in choices):
            break
        yield events
        events = []
    spoken = sum(choice.position for choice in choices)
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=spoken)
    events.append(Finished(usage=usage, seed=_reported_seed(request, prompt)))
    yield events


def _reported_seed(request: TextRequest, prompt: str) -> int | None:
    if request.sampling.temperature == 0:
        return None
    return request.sampling.seed if request.sampling.seed is not None else words.token_id(prompt)


@dataclass(slots=True)
class _Choice:
    """One answer on its way: holds text back while it could still become a stop string."""

    index: int
    request: TextRequest
    plan: tuple[list[str], FinishReason]
    position: int = 0
    ended: bool = False
    _held: str = ""
    _logprobs: list[float] = field(default_factory=list)

    def advance(self) -> list[Event]:
        """The next token, and the end if that was the last."""
        if self.ended:
            return []
        plan, reason = self.plan
        if self.position >= len(plan):
            return self._end(reason)
        word = plan[self.position] if self.position == 0 else " " + plan[self.position]
        self.position += 1
        text, stopped = self._release(self._held + word)
        if not stopped and self.position >= len(plan):
            text, self._held = text + self._held, ""
        events: list[Event] = [self._token(word, text)]
        if stopped:
            return events + self._end("stop")
        return events + (self._end(reason) if self.position >= len(plan) else [])

    def _release(self, text: str) -> tuple[str, bool]:
        """What of `text` may be shown, and whether a stop string ended it; the rest is held."""
        limits = self.request.limits
        found = [(text.index(stop), stop) for stop in limits.stop if stop and stop in text]
        if found:
            start, stop = min(found)
            self._held = ""
            return text[: start + len(stop)] if limits.keep_stop else text[:start], True
        longest = max((_overlap(text, stop) for stop in limits.stop), default=0)
        self._held = text[len(text) - longest :]
        return text[: len(text) - longest], False

    def _token(self, word: str, text: str) -> Token:
        detail, number = self.request.detail, words.token_id(word)
        probability = words.logprob(self.request.sampling.seed or 0, self.position, number)
        self._logprobs.append(probability)
        if not detail.logprobs and not detail.top_logprobs:
            return Token(choice=self.index, id=number, text=text)
        top = words.alternatives(word, probability, detail.top_logprobs)
        return Token(self.index, number, text, False, probability, word.encode(), top)

    def _end(self, reason: FinishReason) -> list[Event]:
        self.ended = True
        mean = sum(self._logprobs) / len(self._logprobs) if self._logprobs else None
        return [Stopped(self.index, reason, mean)]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
