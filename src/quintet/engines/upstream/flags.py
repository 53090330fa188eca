"""Arguments and environment of a command where the caller is not the operator: two short lists, every value typed.

Whatever isn't listed is refused, so that nobody reaches a flag that loads code, opens a port, reads a file or phones
home. The lists are for vLLM's command line. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from quintet.core.errors import InvalidRequest

MAX_PAIRS = 32
MAX_CHARACTERS = 4096
_SPLIT = re.compile(r",(?=[A-Z_]+=)")
_ARGUMENT_SPLIT = re.compile(r",(?=[a-z][a-z0-9-]*=)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

Check = Callable[[str], str | None]
"""Gives the value as it goes to the command, or None if it breaks the rule."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one name may be set to."""

    words: str
    """For people: "a whole number from 1 to 64"."""
    check: Check


def whole(least: int, most: int) -> Rule:
    """A whole number in a range."""

    def check(value: str) -> str | None:
        is_number = bool(re.fullmatch(r"-?[0-9]{1,12}", value)) and value.isascii()
        return str(int(value)) if is_number and least <= int(value) <= most else None

    return Rule(f"a whole number from {least} to {most}", check)


def fraction(least: float, most: float) -> Rule:
    """A decimal number in a range."""

    def check(value: str) -> str | None:
        is_number = value.isascii() and bool(re.fullmatch(r"[0-9]{0,3}\.?[0-9]{1,6}", value))
        return value if is_number and least <= float(value) <= most else None

    return Rule(f"a number from {least} to {most}", check)


def one_of(*values: str) -> Rule:
    """One of some words."""
    return Rule(f"one of {', '.join(values)}", lambda value: value if value in values else None)


def matching(pattern: str, words: str) -> Rule:
    """Text of a given form."""
    compiled = re.compile(pattern)
    return Rule(words, lambda value: value if compiled.fullmatch(value) else None)


SWITCH = one_of("true", "false")
_PARSER = (
    "hermes",
    "llama3_json",
    "llama4_json",
    "mistral",
    "qwen3_coder",
    "granite",
    "pythonic",
    "deepseek_v3",
)
_REASONING = ("deepseek_r1", "qwen3", "granite", "mistral")
ARGUMENTS: Mapping[str, Rule] = {
    "max-model-len": whole(1, 10_000_000),
    "dtype": one_of("auto", "half", "float16", "bfloat16", "float", "float32"),
    "quantization": one_of(
        "awq", "awq_marlin", "gptq", "gptq_marlin", "fp8", "bitsandbytes", "compressed-tensors"
    ),
    "gpu-memory-utilization": fraction(0.05, 0.95),
    "max-num-seqs": whole(1, 4096),
    "max-num-batched-tokens": whole(1, 10_000_000),
    "enforce-eager": SWITCH,
    "seed": whole(0, 2**31 - 1),
    "tensor-parallel-size": whole(1, 64),
    "enable-prefix-caching": SWITCH,
    "limit-mm-per-prompt": matching(
        r'\{"image": ?[0-9]{1,2}(, ?"(video|audio)": ?[0-9]{1,2}){0,2}\}', 'a table such as {"image": 4}'
    ),
    "kv-cache-dtype": one_of("auto", "fp8", "fp8_e4m3", "fp8_e5m2"),
    "tool-call-parser": one_of(*_PARSER),
    "reasoning-parser": one_of(*_REASONING),
    "chat-template-content-format": one_of("auto", "string", "openai"),
}
"""Argument allow-list, version 1."""
ENVIRONMENT: Mapping[str, Rule] = {
    "OMP_NUM_THREADS": whole(1, 64),
    "TOKENIZERS_PARALLELISM": SWITCH,
    "PYTORCH_CUDA_ALLOC_CONF": matching(
        r"(expandable_segments:(True|False)|max_split_size_mb:[0-9]{1,6}|garbage_collection_threshold:0\.[0-9]{1,2})"
        r"(,(expandable_segments:(True|False)|max_split_size_mb:[0-9]{1,6}|garbage_collection_threshold:0\.[0-9]{1,2})){0,2}",
        "settings such as max_split_size_mb:128",
    ),
    "VLLM_ATTENTION_BACKEND": one_of("FLASH_ATTN", "FLASHINFER", "TORCH_SDPA", "TRITON_ATTN", "XFORMERS"),
    "OV_PERFORMANCE_HINT": one_of("LATENCY", "THROUGHPUT"),
}
"""Environment allow-list, version 1."""


def read_arguments(text: str, *, gpus: int = 1) -> tuple[str, ...]:
    """`name=value,name=value` as the words to append to a command; raises InvalidRequest, naming field and rule."""
    words: list[str] = []
    for name, value in _pairs(text, _ARGUMENT_SPLIT, "arguments").items():
        checked = _checked(name, value, ARGUMENTS, "arguments")
        if name == "tensor-parallel-size" and int(checked) > max(gpus, 1):
            raise InvalidRequest(
                f"`{name}` may be at most {max(gpus, 1)}, the number of GPUs here. Lower it.",
                param="arguments",
            )
        if ARGUMENTS[name] is not SWITCH:
            words.append(f"--{name}={checked}")
        elif checked == "true":
            words.append(f"--{name}")
        else:
            words.append(f"--no-{name}")
    return tuple(words)


def read_environment(text: str) -> dict[str, str]:
    """`NAME=value,NAME=value` as variables of a command; raises InvalidRequest, naming field and rule."""
    pairs = _pairs(text, _SPLIT, "environ")
    return {name: _checked(name, value, ENVIRONMENT, "environ") for name, value in pairs.items()}


def _pairs(text: str, split: re.Pattern[str], param: str) -> dict[str, str]:
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequest(
            f"`{param}` may hold at most {MAX_CHARACTERS:,} characters. Shorten it.", param=param
        )
    if not text.strip():
        return {}
    parts = split.split(text)
    if len(parts) > MAX_PAIRS:
        raise InvalidRequest(f"`{param}` may hold at most {MAX_PAIRS} settings. Send fewer.", param=param)
    found: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"`{param}` must be written as NAME=value, with commas between settings. Correct it.",
                param=param,
            )
        if name in found:
            raise InvalidRequest(f"`{param}` sets `{name}` twice. Leave one out.", param=param)
        found[name] = value.strip()
    return found


def _checked(name: str, value: str, rules: Mapping[str, Rule], param: str) -> str:
    rule = rules.get(name)
    if rule is None:
        raise InvalidRequest(
            f"`{param}` must not set `{name}`. These may be set: {', '.join(rules)}.", param=param
        )
    checked = rule.check(value)
    if checked is None:
        raise InvalidRequest(f"`{name}` in `{param}` must be {rule.words}. Correct it.", param=param)
    return checked
