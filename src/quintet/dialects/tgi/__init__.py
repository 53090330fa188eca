"""The text routes of Hugging Face's Text Generation Inference, with the path forms that proxies in front of it made."""

from quintet.core.errors import InvalidRequest, QuintetError
from quintet.dialects.base import Operation, Reply
from quintet.dialects.errors import error_reply
from quintet.dialects.tgi.parse import parse_compatible, parse_generate, parse_generate_stream
from quintet.dialects.tgi.tokenize import parse_chat_tokenize, parse_tokenize
from quintet.dialects.tgi.views import health_reply, info_reply
from quintet.dialects.tgi.wire import ChatTokenizeBody, GenerateBody

__all__ = ["OPERATIONS", "health_reply", "info_reply", "refuse"]

MAX_GENERATE_BYTES = 32 * 1024 * 1024
"""Prompts may hold pictures."""
_PREFIX = "Input validation error: "


def refuse(error: QuintetError) -> Reply:
    """An error in TGI's words."""
    if error.tgi_type == "validation" and isinstance(error, InvalidRequest):
        param = "inputs" if error.param == "prompt" else error.param
        words = _PREFIX + _message(error)
        error = InvalidRequest(words, code=error.code, param=param, retry_after=error.retry_after)
    return error_reply(error, "native")


def _message(error: QuintetError) -> str:
    """The error's own message, or TGI's where TGI's clients know one."""
    match error.facts:
        case {"prompt_tokens": given, "new_tokens": wanted, "context_length": most}:
            return (
                f"`inputs` tokens + `max_new_tokens` must be <= {most}. "
                f"Given: {given} `inputs` tokens and {wanted} `max_new_tokens`"
            )
        case {"prompt_tokens": given, "max_prompt_tokens": most}:
            return f"`inputs` must have less than {most + 1} tokens. Given: {given}"
    return error.message.replace("`prompt`", "`inputs`")


def _generate(path: str, summary: str, *, streams: bool = False, as_list: bool = False) -> Operation:
    parse = parse_compatible if as_list else parse_generate_stream if streams else parse_generate
    return Operation(
        path=path,
        parse=parse,
        refuse=refuse,
        schema=GenerateBody,
        summary=summary,
        max_body_bytes=MAX_GENERATE_BYTES,
    )


OPERATIONS: tuple[Operation, ...] = (
    _generate("/generate", "Continue a prompt"),
    _generate("/generate_stream", "Continue a prompt, token by token", streams=True),
    _generate("/", "Continue a prompt; the answer is a list", as_list=True),
    _generate("/{alias}/generate", "Continue a prompt with the model of this alias"),
    _generate("/{alias}/generate_stream", "The same, token by token", streams=True),
    _generate("/{model}/gpu{n}/generate", "Continue a prompt; the answer is a list", as_list=True),
    _generate("/{model}/gpu{n}/generate_stream", "The same, token by token", streams=True),
    Operation(
        path="/tokenize",
        parse=parse_tokenize,
        refuse=refuse,
        schema=GenerateBody,
        summary="Tokens of a prompt",
    ),
    Operation(
        path="/chat_tokenize",
        parse=parse_chat_tokenize,
        refuse=refuse,
        schema=ChatTokenizeBody,
        summary="Tokens of a conversation as the model reads it",
    ),
)
