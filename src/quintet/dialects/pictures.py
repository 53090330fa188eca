"""Pictures as they stand in bodies: data URLs, bare base64 and links. Nothing is fetched or decoded to pixels here."""

from __future__ import annotations

import binascii
import re
from dataclasses import replace

from quintet.core.content import Image
from quintet.core.errors import InvalidRequest
from quintet.media.rules import MAX_FILE_BYTES

MAX_PICTURES = 8
MAX_PICTURE_BYTES = MAX_FILE_BYTES
MAX_URL_CHARACTERS = 2048
LINE_LENGTHS = (60, 64, 76)
"""Where encoders break lines: Ruby's, PEM's, and MIME's, which Android's and Python's `encodebytes` follow."""
_MAX_ENCODED = (MAX_PICTURE_BYTES + 2) // 3 * 4
_MAX_WRAPPED = _MAX_ENCODED + 2 * (_MAX_ENCODED // LINE_LENGTHS[0])
_MAX_MEDIA_TYPE = 100
_MEDIA_TYPE = re.compile(r"(?:image/[a-z0-9.+-]+|application/octet-stream)?")
_LINK = re.compile(r"https?://[^\s\x00-\x1f]+", re.IGNORECASE)


def parse_picture(text: str, field: str, *, is_mask: bool = False) -> Image:
    """A data URL or an http(s) link as a picture; `field` is where it stands, and is named in errors."""
    if text[:5].lower() == "data:":
        return replace(_parse_data_url(text, field), is_mask=is_mask)
    if len(text) > MAX_URL_CHARACTERS:
        raise _refuse(field, f"must be a data URL or a link of at most {MAX_URL_CHARACTERS} characters.")
    if not _LINK.fullmatch(text):
        raise _refuse(field, "must be a data URL (data:image/png;base64,…) or an http(s) link.")
    return Image(url=text, field=field, is_mask=is_mask)


def parse_uploaded(data: bytes, field: str, *, is_mask: bool = False) -> Image:
    """The bytes of a file as a picture. A link in it is bytes like any others: nothing is fetched."""
    if not 0 < len(data) <= MAX_PICTURE_BYTES:
        limit = MAX_PICTURE_BYTES // (1024 * 1024)
        raise _refuse(field, f"must be a picture of at most {limit} MiB, and not empty. Send another file.")
    return Image(data=data, field=field, is_mask=is_mask)


def parse_encoded(text: str, field: str) -> Image:
    """Base64 or a data URL as a picture; never a link."""
    if text[:5].lower() == "data:":
        return _parse_data_url(text, field)
    return decode_picture(text, field)


def decode_picture(encoded: str, field: str) -> Image:
    """Standard base64 as a picture.

    White space is allowed around it; inside, only the line breaks that encoders make.
    """
    encoded = encoded.strip()
    if len(encoded) > _MAX_WRAPPED:
        raise _too_large(field)
    encoded = _unwrap(encoded)
    if len(encoded) > _MAX_ENCODED:
        raise _too_large(field)
    try:
        raw = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    # Some writers stop short of the padding; a2b_base64 forgives that even in strict mode on some versions.
    if not raw or len(encoded) % 4:
        raise _refuse(
            field,
            "holds a picture that is not valid base64. Use the standard alphabet with padding, and no breaks or one "
            f"after every {', '.join(str(length) for length in LINE_LENGTHS[:-1])} or {LINE_LENGTHS[-1]} characters.",
        )
    return Image(data=raw, field=field)


def check_count(pictures: int, field: str) -> None:
    """Refuse more pictures than one request may hold."""
    if pictures > MAX_PICTURES:
        raise InvalidRequest(f"`{field}` may hold at most {MAX_PICTURES} pictures. Send fewer.", param=field)


def _unwrap(encoded: str) -> str:
    """Without its line breaks, if an encoder made them; anything else stays as it is, and is refused then."""
    first = encoded.find("\n")
    if first < 0:
        return encoded
    *lines, last = encoded.replace("\r\n", "\n").split("\n")
    length = len(lines[0])
    if length not in LINE_LENGTHS or len(last) > length or any(len(line) != length for line in lines):
        return encoded
    return "".join((*lines, last))


def _parse_data_url(text: str, field: str) -> Image:
    comma = text.find(",", 5, 5 + _MAX_MEDIA_TYPE + len(";base64,"))
    label = text[5:comma].lower() if comma >= 0 else ""
    media_type = label.removesuffix(";base64")
    if comma < 0 or media_type == label:
        raise _refuse(
            field, "must be a base64 data URL, which starts with data:image/png;base64 and a comma."
        )
    if not _MEDIA_TYPE.fullmatch(media_type) or media_type == "image/svg+xml":
        raise _refuse(field, "must hold a JPEG, PNG or WebP picture. Convert it first.")
    return decode_picture(text[comma + 1 :], field)


def _too_large(field: str) -> InvalidRequest:
    limit = MAX_PICTURE_BYTES // (1024 * 1024)
    return _refuse(field, f"holds a picture of more than {limit} MiB. Send a smaller one.")


def _refuse(field: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"`{field}` {rule}", param=field, code="image_decode_failed")
