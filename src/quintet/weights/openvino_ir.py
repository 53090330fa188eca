"""An OpenVINO IR, checked before OpenVINO reads it: plain XML, known operators, constants inside the .bin."""

from __future__ import annotations

import os
import re
import struct
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from xml.parsers import expat

from quintet.weights.refusal import GateRefused

MAX_XML_BYTES = 256 * 1024**2
MAX_DEPTH = 64
MAX_ELEMENTS = 10_000_000
MAX_RANK = 32
MAX_SIZE = 1 << 63
MAX_STRINGS_BYTES = 256 * 1024**2

OPSETS = frozenset(f"opset{number}" for number in range(1, 18))
TOKENIZER_FILES = frozenset({"openvino_tokenizer.xml", "openvino_detokenizer.xml"})
TOKENIZER_OPERATORS = frozenset({
    "BPETokenizer", "ByteFallback", "BytesToChars", "CaseFold", "CaseFoldUTF8", "CharsMapNormalization",
    "CharsToBytes", "CombineSegments", "EqualStr", "FuzeRagged", "NormalizeUnicode", "NumericToString",
    "RaggedTensorPack", "RaggedToDense", "RaggedToRagged", "RaggedToSparse", "RegexNormalization",
    "RegexSplit", "SentencepieceDetokenizer", "SentencepieceStreamDetokenizer", "SentencepieceTokenizer",
    "SpecialTokensSplit", "StringTensorPack", "StringTensorUnpack", "StringToHashBucket", "TrieTokenizer",
    "Truncate", "UTF8Validate", "UnigramTokenizer", "VocabDecoder", "VocabEncoder", "WordpieceTokenizer",
})  # fmt: skip
"""What openvino-tokenizers adds; the only operators besides OpenVINO's own, and only in tokenizers' files."""

BITS = {
    "boolean": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "f4e2m1": 4, "f8e4m3": 8, "f8e5m2": 8,
    "f8e8m0": 8, "nf4": 4, "i4": 4, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "u1": 1, "u2": 2, "i2": 2, "u3": 3,
    "u4": 4, "u6": 6, "u8": 8, "u16": 16, "u32": 32, "u64": 64,
}  # fmt: skip
"""Bits of one element of every type a constant can have; strings have none."""

_NEXT_STEP = "Download the model again, or convert it anew from safetensors."
_NUMBER = re.compile(r"[0-9]{1,19}")
_SHAPE = re.compile(r"(?:[0-9]{1,19}(?:,[0-9]{1,19})*)?")
_OPERATOR = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_HINT_NAME = re.compile(
    r"(?!(?:.*_)?(?:PATH|FILE|DIR|LIB|LIBRARY|EXTENSION|CONFIG)(?:_|$))[A-Z][A-Z0-9_]{0,63}"
)
_HINT_VALUE = re.compile(r"[A-Za-z0-9_.,+-]{0,64}")
_OLD_WEIGHTS = frozenset({"blobs", "weights", "biases", "custom"})


@dataclass(slots=True)
class Network:
    """What an IR declares."""

    bytes_by_dtype: Mapping[str, int] = field(default_factory=dict)
    layers: int = 0


def read_network(file: str, xml: BinaryIO, weights: BinaryIO) -> Network:
    """The checked network of an .xml and its .bin; raises GateRefused."""
    if os.fstat(xml.fileno()).st_size > MAX_XML_BYTES:
        raise _refuse(file, f"It is larger than {MAX_XML_BYTES // 1024**2} MiB.")
    reader = _Reader(file, os.fstat(weights.fileno()).st_size)
    parser = reader.parser()
    try:
        block = xml.read(1 << 20)
        if not block.startswith(b"<"):
            raise _refuse(file, "This is not XML in UTF-8.")
        while block:
            parser.Parse(block, False)
            block = xml.read(1 << 20)
        parser.Parse(b"", True)
    except expat.ExpatError:
        raise _refuse(file, "This is not well-formed XML.") from None
    for offset, size in reader.strings:
        weights.seek(offset)
        _check_strings(file, weights.read(size))
    sizes: Counter[str] = Counter()
    for (_, size), dtype in reader.spans.items():
        sizes[dtype] += size
    return Network(sizes, reader.layers)


class _Reader:
    """Follows the elements of one file from start to end; keeps what lies between the root and here."""

    def __init__(self, file: str, available: int) -> None:
        self._file = file
        self._available = available
        self._allows_tokenizers = file.rpartition("/")[2] in TOKENIZER_FILES
        self._path: list[str] = []
        self._lacking: list[bool] = []
        """For every open layer whether it is a constant without data so far."""
        self._elements = 0
        self.layers = 0
        self.spans: dict[tuple[int, int], str] = {}
        """Type of each different stretch of the .bin; constants that are equal share one."""
        self.strings: set[tuple[int, int]] = set()
        self._strings_bytes = 0

    def parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate("UTF-8")
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.EntityDeclHandler = self._refuse_doctype
        parser.ExternalEntityRefHandler = self._refuse_doctype
        parser.ProcessingInstructionHandler = self._refuse_instruction
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        return parser

    def _refuse_doctype(self, *_: Any) -> int:
        raise _refuse(self._file, "It has a document type or entities, which a model does not need.")

    def _refuse_instruction(self, *_: Any) -> None:
        raise _refuse(self._file, "It has a processing instruction, which a model does not need.")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise _refuse(self._file, f"It has more than {MAX_ELEMENTS:,} elements.")
        if len(self._path) >= MAX_DEPTH:
            raise _refuse(self._file, f"It is nested deeper than {MAX_DEPTH} levels.")
        if not self._path:
            if tag != "net" or attributes.get("version") not in ("10", "11"):
                raise _refuse(self._file, "This is not an OpenVINO network of IR version 10 or 11.")
        elif ":" in tag:
            raise _refuse(self._file, "It refers to another kind of document.")
        elif self._path[1:2] == ["rt_info"]:
            self._check_hint(tag, attributes)
        elif tag == "layer":
            self._check_layer(attributes)
        elif tag == "data" and self._path[-1] == "layer":
            self._check_data(attributes)
        elif tag in _OLD_WEIGHTS and self._path[-1] == "layer":
            raise _refuse(self._file, "It keeps weights in the way of IR version 9 and older.")
        self._path.append(tag)

    def _end(self, tag: str) -> None:
        self._path.pop()
        if tag == "layer" and self._path[1:2] != ["rt_info"] and self._lacking.pop():
            raise _refuse(self._file, "A constant has no data.")

    def _check_layer(self, attributes: dict[str, str]) -> None:
        self.layers += 1
        operator, opset = attributes.get("type", ""), attributes.get("version", "")
        if not _OPERATOR.fullmatch(operator):
            raise _refuse(self._file, "The type of a layer is not the name of an operator.")
        is_tokenizer = self._allows_tokenizers and opset == "extension" and operator in TOKENIZER_OPERATORS
        if opset not in OPSETS and not is_tokenizer:
            raise GateRefused(
                self._file,
                "It needs operators from an extension; Quintet loads OpenVINO's own operators alone.",
                "Convert the model without custom operators.",
            )
        self._lacking.append(operator.lower() in ("const", "constant"))

    def _check_data(self, attributes: dict[str, str]) -> None:
        if self._lacking[-1] or {"offset", "size"} <= attributes.keys():
            self._lacking[-1] = False
            self._check_constant(attributes)

    def _check_constant(self, attributes: dict[str, str]) -> None:
        place, length = attributes.get("offset", ""), attributes.get("size", "")
        shape, dtype = attributes.get("shape", "").replace(" ", ""), attributes.get("element_type", "")
        if not _NUMBER.fullmatch(place) or not _NUMBER.fullmatch(length) or not _SHAPE.fullmatch(shape):
            raise _refuse(
                self._file, "The offset, size or shape of a constant is not made of numbers from 0 on."
            )
        offset, size = int(place), int(length)
        if offset + size > self._available:
            raise _refuse(
                self._file,
                f"A constant ends at byte {offset + size:,}, but its .bin has {self._available:,} bytes.",
            )
        lengths = [int(part) for part in shape.split(",")] if shape else []
        elements = 1
        for part in lengths:
            elements *= part or 1
            if elements >= MAX_SIZE or len(lengths) > MAX_RANK:
                raise _refuse(self._file, "A constant's shape has more elements than a computer can count.")
        if dtype == "string":
            self._note_strings(offset, size)
        elif dtype not in BITS:
            raise _refuse(self._file, "A constant has a type that OpenVINO does not know.")
        elif 0 not in lengths and size < (elements * BITS[dtype] + 7) // 8:
            raise _refuse(self._file, "A constant is larger by its shape than by its size.")
        self.spans[offset, size] = dtype

    def _note_strings(self, offset: int, size: int) -> None:
        if (offset, size) not in self.strings:
            self.strings.add((offset, size))
            self._strings_bytes += size
        if self._strings_bytes > MAX_STRINGS_BYTES:
            raise _refuse(self._file, f"Its texts are larger than {MAX_STRINGS_BYTES // 1024**2} MiB.")

    def _check_hint(self, tag: str, attributes: dict[str, str]) -> None:
        """Runtime options inside a model become settings of the device: they must not name files."""
        if len(self._path) < 3 or self._path[2] != "runtime_options":
            return
        if not _HINT_NAME.fullmatch(tag) or not _HINT_VALUE.fullmatch(attributes.get("value", "")):
            raise _refuse(self._file, "One of its runtime options is not a plain hint.")


def _check_strings(file: str, packed: bytes) -> None:
    """A constant of strings: their number, begin of the first, end of each, then the characters."""
    if len(packed) < 4:
        raise _refuse(file, "A constant of texts is too short.")
    (count,) = struct.unpack_from("<i", packed)
    table = 4 * (count + 2)
    if count < 0 or table > len(packed):
        raise _refuse(file, "A constant of texts holds fewer than it says.")
    places = array("i", packed[4:table])
    ordered = all(places[index] <= places[index + 1] for index in range(count))
    if places[0] < 0 or not ordered or places[-1] > len(packed) - table:
        raise _refuse(file, "A text in a constant lies outside of it.")


def _refuse(file: str, rule: str) -> GateRefused:
    return GateRefused(file, rule, _NEXT_STEP)
