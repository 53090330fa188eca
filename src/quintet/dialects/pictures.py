"""Pictures as they stand in JSON: data URLs, bare base64 and links. Nothing is fetched or decoded to pixels here."""

from __future__ import annotations

import binascii
import re

from quintet.core.content import Image
from quintet.core.errors import InvalidRequest

MAX_PICTURES = 8
MAX_PICTURE_BYTES = 20 * 1024 * 1024
MAX_URL_CHARACTERS = 2048
_MAX_ENCODED = (MAX_PICTURE_BYTES + 2) // 3 * 4
_MAX_MEDIA_TYPE = 100
_MEDIA_TYPE = re.compile(r"(?:image/[a-z0-9.+-]+|application/octet-stream)?")
_LINK = re.compile(r"https?://[^\s\x00-\x1f]+", re.IGNORECASE)


def parse_picture(text: str, field: str) -> Image:
    """A data URL or an http(s) link as a picture; `field` is named in errors."""
    if text[:5].lower() == "data:":
        return _parse_data_url(text, field)
    if len(text) > MAX_URL_CHARACTERS:
        raise _refuse(field, f"must be a data URL or a link of at most {MAX_URL_CHARACTERS} characters.")
    if not _LINK.fullmatch(text):
        raise _refuse(field, "must be a data URL (data:image/png;base64,…) or an http(s) link.")
    return Image(url=text)


def decode_picture(encoded: str, field: str) -> Image:
    """Standard base64 as a picture; white space is allowed around it, not inside."""
    encoded = encoded.strip()
    if len(encoded) > _MAX_ENCODED:
        limit = MAX_PICTURE_BYTES // (1024 * 1024)
        raise _refuse(field, f"holds a picture of more than {limit} MiB. Send a smaller one.")
    try:
        raw = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    # Some writers stop short of the padding; a2b_base64 forgives that even in strict mode on some versions.
    if not raw or len(encoded) % 4:
        raise _refuse(
            field,
            "holds a picture that is not valid base64. Use the standard alphabet with padding and no breaks.",
        )
    return Image(data=raw)


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


def _refuse(field: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"`{field}` {rule}", param=field, code="image_decode_failed")
