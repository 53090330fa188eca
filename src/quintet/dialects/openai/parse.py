"""OpenAI-shaped bodies → domain requests. All rules that a schema can't say are here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quintet.core.content import Part
from quintet.core.errors import ContextTooLong, InvalidRequest, Unsupported
from quintet.core.requests import Detail, Grammar, Limits, Sampling, TextRequest
from quintet.dialects.base import Call, Incoming
from quintet.dialects.conversation import check_length, to_messages
from quintet.dialects.grammar import to_grammar
from quintet.dialects.openai.chat import ChatRenderer
from quintet.dialects.openai.completions import CompletionRenderer
from quintet.dialects.openai.fields import refuse_fields
from quintet.dialects.openai.tools import parse_tools
from quintet.dialects.openai.wire import ChatBody, CompletionBody, GenerationBody
from quintet.dialects.validation import check

MAX_NEW_TOKENS = 250_000
"""n × max_tokens × (top_logprobs + 1) may not exceed this: about 25 MB of answer."""
DEFAULT_COMPLETION_TOKENS = 16
MAX_BEST_OF = 2
TGI_CLIENT_MODEL = "tgi"
"""What text-generation's client sends as model; it needs the role in every delta, as TGI writes it, while
OpenAI's own helpers would add the repeated roles up."""
PLACEHOLDER_MODELS = (TGI_CLIENT_MODEL, "dummy")
"""What the clients of single-model servers send: whatever is served."""
SAMPLING_FIELDS = (
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
"""Where a caller says nothing about these, the model's own defaults apply."""


def parse_chat(incoming: Incoming) -> Call:
    """POST /v1/chat/completions."""
    refuse_fields(incoming.body)
    body = check(ChatBody, incoming.body)
    tool_use = parse_tools(body)
    if body.modalities not in (None, [], ["text"]):
        raise Unsupported('`modalities` must be ["text"]. Leave it out.', param="modalities")
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest(
            "`top_logprobs` needs `logprobs`: true. Set it, or leave `top_logprobs` out.",
            param="top_logprobs",
        )
    include_usage = _include_usage(body)
    detail = Detail(logprobs=bool(body.logprobs), top_logprobs=body.top_logprobs or 0)
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    n = body.n or 1
    _check_budget(n, limit, detail)
    messages = to_messages(body.messages)
    request = TextRequest(
        model=model_name(body.model, incoming, [part for message in messages for part in message.parts]),
        messages=messages,
        sampling=_sampling(body),
        limits=_limits(body, limit),
        detail=detail,
        grammar=_grammar(body),
        tool_use=tool_use,
        n=n,
        best_of=n,
        skip_special_tokens=body.skip_special_tokens is not False,
    )
    renderer = ChatRenderer(
        incoming=incoming,
        request=request,
        model=body.model or request.model,
        include_usage=include_usage,
        role_everywhere=body.model == TGI_CLIENT_MODEL,
    )
    return Call(requests=(request,), renderer=renderer, stream=bool(body.stream))


def parse_completion(incoming: Incoming) -> Call:
    """POST /v1/completions."""
    refuse_fields(incoming.body)
    body = check(CompletionBody, incoming.body)
    if body.suffix:
        raise Unsupported("`suffix` is not supported. Leave it out.", param="suffix")
    model, include_usage = model_name(body.model, incoming), _include_usage(body)
    prompts = _prompts(body)
    echo = bool(body.echo)
    wants_logprobs = body.logprobs is not None
    detail = Detail(
        logprobs=wants_logprobs,
        top_logprobs=body.logprobs or 0,
        # Only the engine can turn ids back into text, and only it knows the prompt's probabilities.
        prefill=echo and (wants_logprobs or not isinstance(prompts[0], str)),
    )
    limit = DEFAULT_COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens
    n = body.n or 1
    best_of = _best_of(body, n)
    _check_budget(best_of * len(prompts), limit, detail)
    requests = tuple(
        TextRequest(
            model=model,
            prompt=(prompt,) if isinstance(prompt, str) else (),
            prompt_ids=() if isinstance(prompt, str) else prompt,
            sampling=_sampling(body),
            limits=_limits(body, limit),
            detail=detail,
            grammar=_grammar(body),
            n=n,
            best_of=best_of,
            skip_special_tokens=body.skip_special_tokens is not False,
        )
        for prompt in prompts
    )
    renderer = CompletionRenderer(
        incoming=incoming,
        requests=requests,
        model=body.model or model,
        echo=echo,
        include_usage=include_usage,
    )
    return Call(requests=requests, renderer=renderer, stream=bool(body.stream))


def model_name(given: str | None, incoming: Incoming, parts: Iterable[Part] = ()) -> str:
    """The model that a body names, or the one that answers such parts where it names none; raises InvalidRequest."""
    if given in (None, *PLACEHOLDER_MODELS) and incoming.default_model:
        return incoming.unnamed_model(parts)
    if given is not None:
        return given
    raise InvalidRequest(
        "`model` is required. GET /v1/models lists the models of this server.",
        param="model",
        code="missing_required_parameter",
    )


def _include_usage(body: GenerationBody) -> bool:
    if body.stream_options is None:
        return False
    if not body.stream:
        raise InvalidRequest(
            "`stream_options` is only allowed with `stream`: true. Leave it out.", param="stream_options"
        )
    return bool(body.stream_options.include_usage)


def _sampling(body: GenerationBody) -> Sampling:
    neutral = Sampling()
    return Sampling(
        temperature=_or(body.temperature, neutral.temperature),
        top_k=max(body.top_k or 0, 0),
        top_p=_or(body.top_p, neutral.top_p),
        typical_p=_or(body.typical_p, neutral.typical_p),
        min_p=_or(body.min_p, neutral.min_p),
        repetition_penalty=_or(body.repetition_penalty, neutral.repetition_penalty),
        presence_penalty=_or(body.presence_penalty, neutral.presence_penalty),
        frequency_penalty=_or(body.frequency_penalty, neutral.frequency_penalty),
        logit_bias=_logit_bias(body.logit_bias),
        seed=None if body.seed is None else body.seed % 2**64,
        given=frozenset(name for name in SAMPLING_FIELDS if getattr(body, name) is not None),
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def _logit_bias(biases: dict[str, float] | None) -> tuple[tuple[int, float], ...]:
    if not biases:
        return ()
    if not all(key.isascii() and key.isdigit() and len(key) <= 9 for key in biases):
        raise InvalidRequest(
            "`logit_bias` must map token ids, written as strings of digits, to numbers. Correct its keys.",
            param="logit_bias",
        )
    return tuple((int(key), float(bias)) for key, bias in biases.items())


def _grammar(body: GenerationBody) -> Grammar | None:
    given = body.response_format
    if given is None or given.type == "text":
        return None
    if given.type == "json_schema" and given.value is None:
        value = given.json_schema.content if given.json_schema is not None else None
        return to_grammar(given.type, value, "response_format", inner="json_schema.schema")
    return to_grammar(given.type, given.value, "response_format")


def _limits(body: GenerationBody, max_new_tokens: int | None) -> Limits:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Limits(max_new_tokens=max_new_tokens, stop=stop, ignore_eos=bool(body.ignore_eos))


def _check_budget(choices: int, max_new_tokens: int | None, detail: Detail) -> None:
    if max_new_tokens is None:
        return
    if max_new_tokens > MAX_NEW_TOKENS:
        raise ContextTooLong(
            f"`max_tokens` is longer than any model's context here. Send at most {MAX_NEW_TOKENS:,}.",
            param="max_tokens",
        )
    if choices * max_new_tokens * (detail.top_logprobs + 1) > MAX_NEW_TOKENS:
        raise InvalidRequest(
            "The answer could get too large: choices × `max_tokens` × (top log-probabilities + 1) may be at most "
            f"{MAX_NEW_TOKENS:,}. Lower one of them.",
            param="max_tokens",
            code="budget_exceeded",
        )


def _prompts(body: CompletionBody) -> list[str | tuple[int, ...]]:
    given: Any = body.prompt  # the schema has told the four forms apart; the first entry says which it is
    if isinstance(given, str) or isinstance(given[0], int):
        given = [given]
    prompts: list[str | tuple[int, ...]] = [item if isinstance(item, str) else tuple(item) for item in given]
    if not all(prompts):
        raise InvalidRequest("`prompt` must not be empty. Send some text to continue.", param="prompt")
    check_length(sum(len(text) for text in prompts if isinstance(text, str)), "prompt")
    return prompts


def _best_of(body: CompletionBody, n: int) -> int:
    best_of = n if body.best_of is None else body.best_of
    if best_of < n or best_of > max(n, MAX_BEST_OF):
        raise InvalidRequest(
            f"`best_of` must be at least `n` and at most {MAX_BEST_OF} (or `n`). Change it or leave it out.",
            param="best_of",
        )
    if best_of > n and body.stream:
        raise InvalidRequest(
            "`best_of` greater than `n` can't be streamed. Leave `stream` or `best_of` out.", param="best_of"
        )
    return best_of
