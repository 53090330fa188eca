"""Fields of /v1 bodies that are refused by name. All other unknown fields are ignored, so that new clients work."""

from __future__ import annotations

from quintet.core.errors import Unsupported

DANGEROUS = frozenset(
    {
        "__proto__",
        "api_base",
        "base_url",
        "chat_template",
        "constructor",
        "kv_transfer_params",
        "logits_processors",
        "media_io_kwargs",
        "mm_processor_kwargs",
        "prompt_embeds",
        "prototype",
        "trust_remote_code",
        "vllm_xargs",
    }
)
"""Names that make other servers load, fetch or run something; refused unless null."""

UNSUPPORTED = frozenset(
    {
        "allowed_token_ids",
        "audio",
        "bad_words",
        "chat_template_kwargs",
        "function_call",
        "functions",
        "grammar",
        "guided_choice",
        "guided_decoding_backend",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "json_schema",
        "min_tokens",
        "prompt_logprobs",
        "regex",
        "stop_token_ids",
        "structured_outputs",
        "use_beam_search",
        "web_search_options",
    }
)
"""Names that would change the answer and that we don't honour; refused unless null, empty, 0 or "none"."""


def refuse_fields(body: object) -> None:
    """Raise Unsupported if the body holds a field of either table."""
    if not isinstance(body, dict):
        return  # the schema says it better
    for name in sorted(body.keys() & DANGEROUS):
        if body[name] is not None:
            raise _unsupported(name)
    for name in sorted(body.keys() & UNSUPPORTED):
        if body[name] and body[name] != "none":
            raise _unsupported(name)


def _unsupported(name: str) -> Unsupported:
    return Unsupported(
        f"`{name}` is not supported by this server. Remove it.", param=name, code="unknown_parameter"
    )
