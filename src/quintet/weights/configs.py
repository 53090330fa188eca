"""The JSON files of a model: no references to code, known classes only, and the few facts Quintet wants to know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quintet.weights.refusal import GateRefused

MAX_TEMPLATE = 1024**2
MAX_PATTERN = 4096
MAX_PATTERNS = 64

VOCABULARIES = frozenset({
    "vocab.json", "added_tokens.json", "encoder.json", "vocabulary.json", "shared_vocabulary.json",
    "source_vocabulary.json", "target_vocabulary.json",
})  # fmt: skip
"""Files whose keys are a model's own words, so that no key in them means anything."""

_LIBRARIES = ("diffusers", "transformers")
_CLASS = re.compile(
    r"(?:Asymmetric)?Autoencoder[A-Z]\w{0,40}|[A-Z]\w{0,80}?(?:Model|ModelWithProjection|Scheduler|Tokenizer|TokenizerFast|Processor|FeatureExtractor|Adapter"
    r"|ForConditionalGeneration|ForCausalLM|Pipeline|SafetyChecker|Encoder|Decoder|VAE)",
    re.ASCII,
)
_OPTIMUM = ("optimum", "optimum.intel.openvino.modeling_diffusion")
_OPTIMUM_CLASS = re.compile(r"OVModel[A-Za-z0-9]{1,40}")
_SAFETY_CHECKER = ["stable_diffusion", "StableDiffusionSafetyChecker"]
_SENTENCE_LAYER = re.compile(r"sentence_transformers\.(?:[a-z_]+\.)*[A-Z][A-Za-z0-9]{0,60}")
_MODULE = re.compile(
    r"(?:transformers|diffusers|sentence_transformers|peft)(?:\.(?!transformers_modules)[a-z0-9_]+)*"
)
_IMPLEMENTATION = ("attn_implementation", "experts_implementation", "_implementation_internal")
_SHOWN = frozenset({"auto_map", "trust_remote_code", "custom_pipeline", "_target_", *_IMPLEMENTATION})
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")
_CONTEXT_KEYS = (
    "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length",
    "max_target_positions",
)  # fmt: skip
_NO_REMOTE_CODE = "Quintet runs no code that comes with a model."
_PULL = (
    "Choose a model of a standard architecture. If this one is, take the key out of the file; "
    "`quintet pull` does that by itself for those it knows."
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a config.json says of its model; empty and None where it says nothing."""

    architecture: str = ""
    model_type: str = ""
    context_length: int | None = None


def check_config(file: str, value: Any) -> None:
    """Judge one parsed JSON file by its name; raises GateRefused."""
    plain = file.rpartition("/")[2]
    if plain in VOCABULARIES:
        _check_vocabulary(file, value)
    elif plain == "tokenizer.json":
        _check_tokenizer(file, value)
    elif plain == "model_index.json":
        _check_model_index(file, value)
        _check_keys(file, value)
    elif plain == "modules.json":
        _check_modules(file, value)
        _check_keys(file, value)
    else:
        _check_keys(file, value)


def read_facts(value: Any) -> Facts:
    """Architecture, type and context length of a parsed config.json."""
    if not isinstance(value, dict):
        return Facts()
    architectures, kind = value.get("architectures"), value.get("model_type")
    architecture = architectures[0] if isinstance(architectures, list) and architectures else ""
    text = value.get("text_config")
    lengths = [
        where[key]
        for where in (value, text if isinstance(text, dict) else {})
        for key in _CONTEXT_KEYS
        if type(where.get(key)) is int and where[key] > 0
    ]
    return Facts(
        architecture if isinstance(architecture, str) else "",
        kind if isinstance(kind, str) else "",
        lengths[0] if lengths else None,
    )


def is_code_reference(key: str, value: Any) -> bool:
    """Whether a loader that meets this key might import code that came with the model.

    An absent reference (null, false, empty) and numbers are harmless: `custom_pipelines: {}`, `custom_dropout: 0.1`.
    """
    if key in ("auto_map", "_target_"):
        return bool(value)
    if key == "trust_remote_code":
        return value not in (None, False)
    if key.endswith(_IMPLEMENTATION):
        # "owner/name" instead of a word would fetch a kernel, which is program code, from the hub.
        named = value.values() if isinstance(value, dict) else (value,)
        return any(not (word is None or _fits(_WORD, word)) for word in named)
    if key.startswith("custom_"):
        return value is True or (isinstance(value, str | list | dict) and bool(value))
    return False


def walk_keys(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object inside a value with each of its keys, without recursion."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            for key in list(here):
                yield here, key
            waiting.extend(child for child in here.values() if isinstance(child, dict | list))
        elif isinstance(here, list):
            waiting.extend(child for child in here if isinstance(child, dict | list))


def _check_keys(file: str, value: Any) -> None:
    for here, key in walk_keys(value):
        found = here[key]
        if is_code_reference(key, found):
            # Only the known names are shown; any other key is the file's own text.
            shown = key if key in _SHOWN else "a custom key"
            raise GateRefused(file, f"It refers to program code ({shown}); {_NO_REMOTE_CODE}", _PULL)
        if key == "_class_name" and not _is_class(found):
            raise GateRefused(
                file, "Its _class_name is no class of diffusers.", "Take the model from another source."
            )
        if key == "parent_library" and found is not None and not _fits(_MODULE, found):
            raise GateRefused(file, f"It names a module to import; {_NO_REMOTE_CODE}", _PULL)
        if key == "chat_template" and len(str(found)) > MAX_TEMPLATE:
            raise GateRefused(
                file, f"Its chat template is longer than {MAX_TEMPLATE:,} characters.", "Shorten it."
            )


def _check_vocabulary(file: str, value: Any) -> None:
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [[]]
    if any(isinstance(entry, dict | list) for entry in entries):
        raise GateRefused(
            file,
            "A vocabulary is one list of words or one object of words and numbers.",
            "Download it again.",
        )


def _check_tokenizer(file: str, value: Any) -> None:
    """A file of the tokenizers library; the words of its vocabulary are no keys."""
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(model, dict):
        raise GateRefused(file, "It describes no tokenizer.", "Download it again.")
    rest = {**value, "model": {key: found for key, found in model.items() if key not in ("vocab", "merges")}}
    _check_keys(file, rest)
    patterns = [here[key] for here, key in walk_keys(rest) if key == "Regex"]
    if len(patterns) > MAX_PATTERNS or any(
        not isinstance(pattern, str) or len(pattern) > MAX_PATTERN for pattern in patterns
    ):
        raise GateRefused(
            file,
            f"It has more than {MAX_PATTERNS} regular expressions or one of more than {MAX_PATTERN:,} characters.",
            "Take the model from another source.",
        )


def _check_model_index(file: str, value: Any) -> None:
    """The components of a diffusers pipeline: [library, class], whose library would be imported."""
    if not isinstance(value, dict):
        raise GateRefused(file, "It is not an object of components.", "Download it again.")
    for key, component in value.items():
        if key.startswith("_") or component is None or isinstance(component, bool | int | float):
            continue
        if not _is_component(component):
            raise GateRefused(
                file,
                "A component is not [library, class] with a known class of diffusers or transformers; "
                + _NO_REMOTE_CODE,
                "Choose a pipeline that is made of these alone.",
            )


def _is_component(component: Any) -> bool:
    if component in ([None, None], _SAFETY_CHECKER):
        return True
    if not isinstance(component, list) or len(component) != 2:
        return False
    library, name = component
    if library in _OPTIMUM:
        return _fits(_OPTIMUM_CLASS, name)
    return library in _LIBRARIES and _is_class(name)


def _check_modules(file: str, value: Any) -> None:
    """The layers of a sentence encoder: each names the class that is imported for it."""
    if not isinstance(value, list) or any(
        not isinstance(layer, dict) or not _fits(_SENTENCE_LAYER, layer.get("type")) for layer in value
    ):
        raise GateRefused(
            file,
            f"A layer is no class of sentence_transformers; {_NO_REMOTE_CODE}",
            "Choose a model that is made of these alone.",
        )


def _is_class(name: Any) -> bool:
    return _fits(_CLASS, name)


def _fits(pattern: re.Pattern[str], text: Any) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None
