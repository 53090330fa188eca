"""References to remote code taken out of a model that does not need them.

Models that were new once still carry `auto_map` in their config.json, although the libraries have known their
architecture for long. A fresh download of such a model is disarmed, then judged by the gate, then recorded.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from quintet.weights.configs import VOCABULARIES, read_facts, walk_keys
from quintet.weights.json_text import parse_json
from quintet.weights.names import is_index, kind_of, max_bytes
from quintet.weights.refusal import GateRefused
from quintet.weights.tree import Entry, Tree

NATIVE_TYPES = frozenset({
    "bert", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "distilbert", "falcon", "gemma", "gemma2",
    "gemma3", "gemma3_text", "glm", "glm4", "gpt_neox", "gpt_oss", "granite", "idefics3", "internlm3",
    "llama", "llava", "llava_next", "mistral", "mistral3", "mixtral", "modernbert", "mpnet", "mpt",
    "nomic_bert", "olmo2", "olmo3", "phi", "phi3", "phimoe", "qwen2", "qwen2_5_vl", "qwen2_moe", "qwen2_vl",
    "qwen3", "qwen3_moe", "qwen3_vl", "roberta", "smollm3", "smolvlm", "stablelm", "starcoder2", "whisper",
    "xlm-roberta",
})  # fmt: skip
"""Values of model_type whose classes ship with the libraries, so that code of their own is not needed."""

_REFERENCES = ("auto_map", "trust_remote_code")


def disarm(directory: Path) -> list[str]:
    """Remove these references from the JSON files of a directory that is being installed; names those changed.

    Does nothing where config.json names no native model type: then the gate refuses what is left. Raises
    GateRefused for files that can't be read as JSON.
    """
    with Tree(directory) as tree:
        entries = {entry.name: entry for entry in tree.entries()}
        config = entries.get("config.json")
        if config is None or read_facts(_parse(tree, config)).model_type not in NATIVE_TYPES:
            return []
        changed = {
            entry.name: value
            for entry in entries.values()
            if _is_config(entry) and _strip(value := _parse(tree, entry))
        }
    for name, value in changed.items():
        target = directory / name
        new = target.with_name(target.name + ".new")
        new.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        os.replace(new, target)
    return sorted(changed)


def _is_config(entry: Entry) -> bool:
    plain = entry.name.rpartition("/")[2]
    if entry.content != entry.name or plain in VOCABULARIES or plain == "tokenizer.json":
        return False
    return plain.endswith(".json") and not is_index(plain)


def _parse(tree: Tree, entry: Entry) -> Any:
    limit = max_bytes(entry.name, kind_of(entry.name)) or 0
    with tree.open(entry) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise GateRefused(entry.name, f"It is larger than {limit:,} bytes.", "Download it again.")
    return parse_json(entry.name, data)


def _strip(value: Any) -> bool:
    """Whether anything was taken out of the value."""
    found = [(here, key) for here, key in walk_keys(value) if key in _REFERENCES]
    for here, key in found:
        here.pop(key, None)
    return bool(found)
