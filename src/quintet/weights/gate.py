"""The static gate: judges a directory of model files before anything loads them, and runs nothing of them.

Every file must be one that a model needs, by its name and by its content; whatever can run code is refused by
what it is, not searched for bad code. Needs the standard library alone. What it says holds for the files as they
were: an installed model is judged before it is moved to its place, and nobody writes there afterwards.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quintet.core.models import SourceFormat
from quintet.weights.configs import Facts, check_config, read_facts
from quintet.weights.ctranslate2 import read_variables
from quintet.weights.json_text import parse_json
from quintet.weights.magic import foreign_kind
from quintet.weights.names import Kind, is_index, kind_of, max_bytes
from quintet.weights.openvino_ir import read_network
from quintet.weights.refusal import GateRefused
from quintet.weights.safetensors import Header, check_index, read_header
from quintet.weights.sizes import show_bytes
from quintet.weights.tree import Entry, Tree

_AGAIN = "Download the file again, or take the model from another source."


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the gate found in a directory that it lets pass."""

    format: SourceFormat
    files: tuple[str, ...]
    """Every file, relative to the directory."""
    total_bytes: int
    """Size of all files."""
    tensor_bytes: int
    """What the weights take in memory as they are stored."""
    bytes_by_dtype: Mapping[str, int]
    """The same by type, in small letters: bf16, f16, i8, u4, …"""
    architecture: str = ""
    """The first of config.json's architectures; of a diffusers pipeline its class."""
    model_type: str = ""
    context_length: int | None = None

    @property
    def main_dtype(self) -> str:
        """The type that most bytes of the weights have."""
        return max(self.bytes_by_dtype, key=lambda dtype: self.bytes_by_dtype[dtype])


def inspect(directory: Path, *, memory_bytes: int | None = None) -> Inspection:
    """Judge a directory of model files; raises GateRefused, whose message says file, rule and next step.

    `memory_bytes` is what the weights may take at most.
    """
    with Tree(directory) as tree:
        case = _Case(tree)
        case.check_files()
        return case.conclude(memory_bytes)


class _Case:
    """One directory being judged."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._entries = {entry.name: entry for entry in tree.entries()}
        self._kinds = {name: kind_of(name) for name in self._entries}
        self._sizes: dict[Kind, Counter[str]] = {}
        self._headers: dict[str, Header] = {}
        self._indexes: dict[str, Any] = {}
        self._facts = Facts()
        self._pipeline: str | None = None

    def check_files(self) -> None:
        """Every file by itself, then what they say of each other."""
        for name, kind in self._kinds.items():
            self._check_file(self._entries[name], kind)
        for name, value in self._indexes.items():
            folder = name.rpartition("/")[0]
            beside = {
                other.rpartition("/")[2]: header
                for other, header in self._headers.items()
                if other.rpartition("/")[0] == folder
            }
            check_index(name, value, beside)

    def conclude(self, memory_bytes: int | None) -> Inspection:
        """The findings on the directory as a whole."""
        form, weights = self._form()
        sizes = self._sizes[weights]
        tensor_bytes = sum(sizes.values())
        if memory_bytes is not None and tensor_bytes > memory_bytes:
            raise GateRefused(
                ".",
                f"The weights take {show_bytes(tensor_bytes)} of memory, and {show_bytes(memory_bytes)} are there "
                "for them.",
                "Choose a smaller model or precision, or free memory.",
            )
        return Inspection(
            format=form,
            files=tuple(self._entries),
            total_bytes=sum(entry.size for entry in self._entries.values()),
            tensor_bytes=tensor_bytes,
            bytes_by_dtype=dict(sizes),
            architecture=self._pipeline or self._facts.architecture,
            model_type=self._facts.model_type,
            context_length=self._facts.context_length,
        )

    def _form(self) -> tuple[SourceFormat, Kind]:
        """The format that is loaded, and the files that hold its weights: IR is preferred to what it came from."""
        if any(self._sizes.get(Kind.IR_NETWORK, {}).values()):
            return "openvino", Kind.IR_NETWORK
        if any(self._sizes.get(Kind.CTRANSLATE2, {}).values()):
            return "ctranslate2", Kind.CTRANSLATE2
        if any(self._sizes.get(Kind.SAFETENSORS, {}).values()):
            return "safetensors" if self._pipeline is None else "diffusers", Kind.SAFETENSORS
        raise GateRefused(
            ".",
            "There are no weights here.",
            "Quintet reads openvino_*.xml with their .bin, *.safetensors, and CTranslate2's model.bin.",
        )

    def _check_file(self, entry: Entry, kind: Kind) -> None:
        name = entry.name
        limit = max_bytes(name, kind)
        with self._tree.open(entry) as stream:
            size = os.fstat(stream.fileno()).st_size
            if limit is not None and size > limit:
                raise GateRefused(name, f"It has {size:,} bytes and {limit:,} are allowed.", _AGAIN)
            foreign = foreign_kind(stream, size, kind)
            if foreign:
                raise GateRefused(
                    name,
                    f"By its content this is {foreign}, not {kind}.",
                    "Take the model from another source.",
                )
            stream.seek(0)
            match kind:
                case Kind.SAFETENSORS:
                    self._headers[name] = read_header(name, stream)
                    self._count(kind, self._headers[name].bytes_by_dtype)
                case Kind.IR_NETWORK:
                    with self._tree.open(self._partner(name, ".xml", ".bin")) as weights:
                        self._count(kind, read_network(name, stream, weights).bytes_by_dtype)
                case Kind.IR_WEIGHTS:
                    self._partner(name, ".bin", ".xml")
                case Kind.CTRANSLATE2:
                    self._partner(name, "model.bin", "config.json")
                    self._count(kind, read_variables(name, stream))
                case Kind.JSON:
                    self._check_json(name, stream.read(limit or 0))
                case Kind.TEXT:
                    _check_text(name, stream.read(limit or 0))
                case Kind.SENTENCEPIECE:
                    _check_sentencepiece(name, stream.read(limit or 0))

    def _count(self, kind: Kind, bytes_by_dtype: Mapping[str, int]) -> None:
        self._sizes.setdefault(kind, Counter()).update(bytes_by_dtype)

    def _partner(self, name: str, ending: str, other: str) -> Entry:
        partner = self._entries.get(name.removesuffix(ending) + other)
        if partner is None:
            shown = (name.removesuffix(ending) + other).rpartition("/")[2]
            raise GateRefused(name, f"The file that belongs to it, {shown}, is missing.", _AGAIN)
        return partner

    def _check_json(self, name: str, data: bytes) -> None:
        value = parse_json(name, data)
        if is_index(name):
            self._indexes[name] = value
            return
        check_config(name, value)
        if name == "config.json":
            self._facts = read_facts(value)
        elif name == "model_index.json":
            self._pipeline = str(value.get("_class_name", ""))


def _check_text(name: str, data: bytes) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise GateRefused(name, "This is not text in UTF-8.", "Remove it, or save it as UTF-8.")


def _check_sentencepiece(name: str, data: bytes) -> None:
    """Begins with the first piece of a sentencepiece model, or is a list of words as text."""
    if not data.startswith(b"\x0a"):
        _check_text(name, data)


def main(arguments: Sequence[str]) -> int:
    """`python -m quintet.weights.gate DIRECTORY [MEMORY_BYTES]`: the findings as JSON, or the refusal and status 1.

    For whoever must not pay the memory that large vocabularies take while they are judged, such as a server.
    """
    directory, *memory = arguments
    try:
        found = inspect(Path(directory), memory_bytes=int(memory[0]) if memory else None)
    except GateRefused as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
