"""Bodies that are forms (multipart/form-data, RFC 7578), read in memory; what they hold is never fetched or opened.

The bytes come from body.py like those of any other body, so caps, deadlines and the budget are the same.
"""

from __future__ import annotations

import re

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from quintet.core.errors import InvalidRequest
from quintet.dialects.base import Form, Upload
from quintet.server.body import check_encoding
from quintet.server.exchange import Exchange

MAX_PARTS = 64
MAX_HEADERS = 8
MAX_HEADER_BYTES = 2048
MAX_TYPE_BYTES = 512
MAX_NAME_CHARACTERS = 64
MAX_FILE_NAME_CHARACTERS = 255
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})


def form_boundary(exchange: Exchange) -> bytes | None:
    """What parts the fields of the body if its headers say that it is a form; None for bodies of other types.

    Raises InvalidRequest or UnsupportedMediaType.
    """
    types = exchange.headers(b"content-type")
    if len(types) != 1 or not types[0].strip().lower().startswith(b"multipart/form-data"):
        return None
    check_encoding(exchange)
    if len(types[0]) > MAX_TYPE_BYTES:
        raise _refuse("The Content-Type header of the form is too long.")
    kind, options = parse_options_header(types[0].strip())
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not _BOUNDARY.fullmatch(boundary):
        raise _refuse("The form's Content-Type must name a boundary of 1 to 70 characters.")
    return boundary


def parse_form(body: bytes, boundary: bytes) -> Form:
    """The fields of a form; raises InvalidRequest."""
    collector = _Collector()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": collector.begin,
            "on_header_field": collector.add_header_name,
            "on_header_value": collector.add_header_value,
            "on_header_end": collector.end_header,
            "on_headers_finished": collector.end_headers,
            "on_part_data": collector.add_data,
            "on_part_end": collector.end,
            "on_end": collector.finish,
        },
        max_header_count=MAX_HEADERS,
        max_header_size=MAX_HEADER_BYTES,
    )
    try:
        parser.write(body)
    except FormParserError:
        raise _refuse("The form is malformed, or its boundary is not the one in Content-Type.") from None
    if not collector.is_whole:
        raise _refuse("The form breaks off, or its boundary is not the one in Content-Type.")
    return Form(texts=collector.texts, files=collector.files)


class _Collector:
    """Takes what the parser finds, and refuses what is too much of it."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.files: dict[str, list[Upload]] = {}
        self.is_whole = False
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        self._name = ""
        self._file_name: str | None = None
        self._data: list[bytes] = []

    def begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _refuse(f"The form may have at most {MAX_PARTS} fields.")
        self._headers = {}
        self._data = []

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        name = self._header_name.lower()
        if name in self._headers:
            raise _refuse("A field of the form has the same header twice.")
        self._headers[name] = self._header_value
        self._header_name = self._header_value = b""

    def end_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"")
        if disposition != b"form-data" or not name:
            raise _refuse(
                "A field of the form has no name: each needs Content-Disposition: form-data; name=…."
            )
        self._name = _text(name, "The name of a field")
        if len(self._name) > MAX_NAME_CHARACTERS or _CONTROLS.search(self._name):
            raise _refuse(f"The name of a field may have at most {MAX_NAME_CHARACTERS} printable characters.")
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").strip().lower()
        if encoding not in _PLAIN_ENCODINGS:
            raise _refuse("A field of the form is encoded. Send its bytes as they are.")
        file_name = options.get(b"filename")
        self._file_name = None
        if file_name is not None:
            cleaned = _CONTROLS.sub("", file_name.decode("utf-8", "replace"))
            self._file_name = cleaned[-MAX_FILE_NAME_CHARACTERS:]

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end(self) -> None:
        data = b"".join(self._data)
        self._data = []
        if self._file_name is not None:
            self.files.setdefault(self._name, []).append(Upload(self._file_name, data))
            return
        text = _text(data, "A field of the form")
        if "\0" in text:
            raise _refuse("A field of the form has a NUL character. Remove it.")
        self.texts.setdefault(self._name, []).append(text)

    def finish(self) -> None:
        self.is_whole = True


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _refuse(f"{what} is not valid UTF-8. Encode it as UTF-8, or send it as a file.") from None


def _refuse(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_form")
