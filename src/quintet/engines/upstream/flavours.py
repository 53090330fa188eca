"""What kinds of servers there are and what each understands beside OpenAI's own fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

FlavourName = Literal["vllm", "llama.cpp", "tgi", "openai"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """The words of one kind of server; an empty word = it can't do that."""

    name: FlavourName
    has_whole_top_p: bool = True
    """Whether it takes a `top_p` of 1; to others it is left out when it says nothing."""
    top_k: str = ""
    min_p: str = ""
    typical_p: str = ""
    repetition_penalty: str = ""
    penalty_window: str = ""
    """How many tokens the repetition penalty looks back."""
    ignore_eos: str = ""
    truncate: str = ""
    special_tokens: str = ""
    keep_stop: str = ""
    """Leaves the stop string at the end of the text; without it we look for stop strings ourselves."""
    has_counts: bool = False
    """`timings_per_token` makes it say with each piece how many tokens there were."""
    has_ids: bool = False
    """`return_token_ids` makes it send token ids."""
    constrains_prompts: bool = False
    """Whether raw prompts may come with a JSON schema. llama.cpp ignores one there without a word, and grammars of
    its other kind end the process of builds without it, so we send neither."""
    has_regex: bool = False
    has_adapters: bool = False
    """LoRAs are models of their own name there."""
    tokenizes: bool = False


FLAVOURS: dict[FlavourName, Flavour] = {
    "openai": Flavour(name="openai"),
    "tgi": Flavour(name="tgi", has_whole_top_p=False),
    "llama.cpp": Flavour(
        name="llama.cpp",
        top_k="top_k",
        min_p="min_p",
        typical_p="typical_p",
        repetition_penalty="repeat_penalty",
        penalty_window="repeat_last_n",
        ignore_eos="ignore_eos",
        has_counts=True,
        tokenizes=True,
    ),
    "vllm": Flavour(
        name="vllm",
        top_k="top_k",
        min_p="min_p",
        repetition_penalty="repetition_penalty",
        ignore_eos="ignore_eos",
        truncate="truncate_prompt_tokens",
        special_tokens="skip_special_tokens",
        keep_stop="include_stop_str_in_output",
        has_ids=True,
        constrains_prompts=True,
        has_regex=True,
        has_adapters=True,
        tokenizes=True,
    ),
}
_OWNERS: dict[str, FlavourName] = {"vllm": "vllm", "llamacpp": "llama.cpp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the server says of itself."""

    flavour: Flavour
    model: str
    """The name to ask for."""
    vocabulary_size: int = 0
    context_length: int = 0


def recognise(listing: object, wanted: str, forced: str) -> Served:
    """Judge a server by its list of models; `wanted` and `forced` (a flavour's name) win over what it says."""
    entries = [entry for entry in _entries(listing) if isinstance(entry.get("id"), str)]
    entry = next((entry for entry in entries if entry["id"] == wanted), None)
    if entry is None:
        entry = entries[0] if entries else {}
    owner = entry.get("owned_by")
    name: FlavourName = _OWNERS.get(owner, "openai") if isinstance(owner, str) else "openai"
    if forced:
        name = next(known for known in FLAVOURS if known == forced)
    meta = entry.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    return Served(
        flavour=FLAVOURS[name],
        model=wanted or str(entry.get("id", ""))[:256],
        vocabulary_size=_count(meta.get("n_vocab")),
        context_length=_count(meta.get("n_ctx")) or _count(entry.get("max_model_len")),
    )


def _entries(listing: object) -> list[dict[str, Any]]:
    data = listing.get("data") if isinstance(listing, dict) else None
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0
