"""A text request as the body of an OpenAI-compatible request. Pure; what the server can't do is refused by name."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any

from quintet.core.content import Image, Message
from quintet.core.errors import InvalidRequest, Unsupported
from quintet.core.requests import Grammar, Sampling, TextRequest, ToolUse
from quintet.engines.upstream.flavours import Flavour

_SEEDS = 2**32 - 1
"""Servers take 32 bits, and the largest number means "draw one" to some."""
_PICTURES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What to send for one request, and what its answer needs to be understood."""

    path: str
    body: dict[str, Any]
    request: TextRequest
    seed: int | None
    """What to report; None if nothing is drawn at random."""
    stops: tuple[str, ...] = ()
    """Stop strings that we look for ourselves."""


def asking_of(request: TextRequest, flavour: Flavour, model: str, default_new_tokens: int) -> Asking:
    """The body of a generation; raises Unsupported or InvalidRequest."""
    _refuse(request, flavour)
    seed = _seed(request.sampling)
    body: dict[str, Any] = {
        "model": request.adapter or model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.sampling, flavour),
        **_limits(request, flavour, default_new_tokens),
    }
    if request.n > 1:
        body["n"] = request.n
    if seed is not None:
        body["seed"] = seed % _SEEDS
    if flavour.has_ids and (request.detail.logprobs or request.detail.top_logprobs):
        body["return_token_ids"] = True
    if request.messages:
        path = "/chat/completions"
        body |= _conversation(request, flavour)
    else:
        path = "/completions"
        body |= _continuation(request)
    if request.grammar is not None:
        body |= _grammar(request.grammar, flavour, is_chat=bool(request.messages))
    stops: tuple[str, ...] = ()
    if request.limits.stop and request.limits.keep_stop and not flavour.keep_stop:
        stops = request.limits.stop
        if flavour.has_counts:
            body["timings_per_token"] = True
    elif request.limits.stop:
        body["stop"] = list(request.limits.stop)
        if request.limits.keep_stop:
            body[flavour.keep_stop] = True
    return Asking(path=path, body=body, request=request, seed=seed, stops=stops)


def _refuse(request: TextRequest, flavour: Flavour) -> None:
    """Everything that would silently change the answer if it were left out."""
    sampling, limits = request.sampling, request.limits
    asked = {
        "top_k": sampling.top_k != 0 and not flavour.top_k,
        "min_p": sampling.min_p != 0 and not flavour.min_p,
        "typical_p": sampling.typical_p != 1 and not flavour.typical_p,
        "repetition_penalty": sampling.repetition_penalty != 1 and not flavour.repetition_penalty,
        "ignore_eos": limits.ignore_eos and not flavour.ignore_eos,
        "truncate": limits.truncate is not None and not flavour.truncate,
        "adapter": bool(request.adapter) and not flavour.has_adapters,
        "best_of": request.best_of > request.n,
        "tools": bool(request.tool_use and request.tool_use.tools) and not request.messages,
    }
    for name, is_refused in asked.items():
        if is_refused:
            raise refusal(name)
    if request.detail.prefill:
        raise Unsupported(
            "The server behind this model gives no log-probabilities of prompts. Don't ask for details of the prompt.",
            param="prefill",
        )
    if not request.messages and any(isinstance(part, Image) for part in request.prompt):
        raise Unsupported(
            "The server behind this model takes pictures in conversations only. Send messages.",
            param="prompt",
        )


def refusal(name: str) -> Unsupported:
    """The error for a field that this kind of server doesn't know."""
    return Unsupported(f"The server behind this model can't do `{name}`. Leave it out.", param=name)


def _seed(sampling: Sampling) -> int | None:
    if sampling.temperature == 0:
        return None
    return secrets.randbelow(2**31) if sampling.seed is None else sampling.seed


def _sampling(sampling: Sampling, flavour: Flavour) -> dict[str, Any]:
    """Every value is said, neutral ones too: servers have defaults of their own."""
    body: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    for word in ("top_k", "min_p", "typical_p", "repetition_penalty"):
        if foreign := getattr(flavour, word):
            body[foreign] = getattr(sampling, word)
    if sampling.top_p == 1 and not flavour.has_whole_top_p:
        del body["top_p"]
    if flavour.top_k:
        body[flavour.top_k] = sampling.top_k or -1  # "off" everywhere; 0 is refused by vLLM before 0.9
    if flavour.penalty_window and sampling.repetition_penalty != 1:
        body[flavour.penalty_window] = -1  # all of the context, not the last 64 tokens
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return body


def _limits(request: TextRequest, flavour: Flavour, default_new_tokens: int) -> dict[str, Any]:
    limits, body = request.limits, dict[str, Any]()
    if limits.max_new_tokens is not None:
        body["max_tokens"] = limits.max_new_tokens
    elif not request.messages:
        body["max_tokens"] = default_new_tokens  # some servers would stop after 16
    if limits.ignore_eos:
        body[flavour.ignore_eos] = True
    if limits.truncate is not None:
        body[flavour.truncate] = limits.truncate
    return body


def _conversation(request: TextRequest, flavour: Flavour) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
    if request.detail.logprobs or request.detail.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": max(1, request.detail.top_logprobs)}
    if not request.skip_special_tokens and flavour.special_tokens:
        body[flavour.special_tokens] = False
    if request.tool_use is not None and request.tool_use.tools:
        body |= _tools(request.tool_use)
    return body


def _continuation(request: TextRequest) -> dict[str, Any]:
    text = "".join(part for part in request.prompt if isinstance(part, str))
    body: dict[str, Any] = {"prompt": list(request.prompt_ids) or text}
    if request.detail.logprobs or request.detail.top_logprobs:
        body["logprobs"] = max(1, request.detail.top_logprobs)
    return body


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.text}
    if any(isinstance(part, Image) for part in message.parts):
        said["content"] = [_part(part) for part in message.parts]
    if message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        said["content"] = said["content"] or None
    if message.tool_call_id:
        said["tool_call_id"] = message.tool_call_id
    if message.name:
        said["name"] = message.name
    return said


def _part(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not part.data:
        raise InvalidRequest("A picture did not arrive. Send it as a data URL.", param="messages")
    kind = next((kind for start, kind in _PICTURES if part.data.startswith(start)), "png")
    link = f"data:image/{kind};base64,{base64.b64encode(part.data).decode()}"
    return {"type": "image_url", "image_url": {"url": link}}


def _tools(use: ToolUse) -> dict[str, Any]:
    tools = []
    for tool in use.tools:
        function: dict[str, Any] = {"name": tool.name, "parameters": json.loads(tool.parameters)}
        if tool.description:
            function["description"] = tool.description
        if tool.strict:
            function["strict"] = True
        tools.append({"type": "function", "function": function})
    body: dict[str, Any] = {"tools": tools, "tool_choice": use.choice}
    if not use.parallel:
        body["parallel_tool_calls"] = False
    return body


def _grammar(grammar: Grammar, flavour: Flavour, *, is_chat: bool) -> dict[str, Any]:
    if grammar.kind == "regex":
        if not flavour.has_regex:
            raise refusal(grammar.param)
        # The second name is for vLLM before 0.11, which would ignore the first one without a word.
        return {"structured_outputs": {"regex": grammar.text}, "guided_regex": grammar.text}
    if not is_chat and not flavour.constrains_prompts:
        raise refusal(grammar.param)
    schema = json.loads(grammar.text) if grammar.kind == "json_schema" else {"type": "object"}
    if grammar.kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
