"""The one parser of callers' links. What two programs could read differently is refused, never repaired.

The link that was parsed is the link that is fetched: nobody parses the text again (CVE-2026-25960 was a check by one
parser and a fetch by another). Nothing is resolved here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urljoin

MAX_CHARACTERS = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PLAIN = re.compile(r"[!-\[\]-~]*")
"""Printable ASCII without the space and the backslash, which some programs read as a slash."""
_LINK = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<target>[^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_NAME = 253
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label like this makes programs read the whole host as an IPv4 address."""
_INSIDE = frozenset(
    (
        "home",
        "intranet",
        "internal",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "private",
    )
)
"""Last labels of names that are never public."""


class LinkRefused(Exception):
    """The text of a link breaks a rule; the message goes on where the name of the field has begun."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where to go, in parts that need no more parsing."""

    scheme: str
    host: str
    """Lower case; an IPv6 address without its brackets."""
    port: int
    target: str
    """Path and query as they go into the request line."""

    @property
    def origin(self) -> str:
        """Host and port, as in 93.184.216.34:80 or [::1]:80."""
        return f"{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        return self._bracketed if self.port == _DEFAULT_PORTS[self.scheme] else self.origin

    @property
    def address(self) -> str | None:
        """The host if it is an IP address."""
        return self.host if ":" in self.host or self.host.rpartition(".")[2].isdigit() else None

    @property
    def is_inside_name(self) -> bool:
        """Whether the host is a name that only an inside network knows: without a dot, or with a known ending."""
        if self.address is not None:
            return False
        return (
            "." not in self.host
            or self.host.rpartition(".")[2] in _INSIDE
            or self.host.endswith((".home.arpa", ".in-addr.arpa", ".ip6.arpa"))
        )

    def follow(self, location: str) -> Link:
        """Where a redirect from here leads; raises LinkRefused."""
        if _SCHEME.match(location):
            link = parse_link(location)
        elif location.startswith("//"):
            link = parse_link(f"{self.scheme}:{location}")
        else:
            # Path only: the host is never put together from pieces, and urljoin never sees what looks like one.
            path = _checked(location).partition("#")[0]
            target = path if path.startswith("/") else urljoin("/" + self.target.lstrip("/"), path)
            if not target.startswith("/") or target.startswith("//"):
                raise LinkRefused("leads to something that is no link.")
            link = Link(self.scheme, self.host, self.port, target)
        if self.scheme == "https" and link.scheme != "https":
            raise LinkRefused("leads from https to http.")
        return link

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_link(text: str) -> Link:
    """An http(s) link with a plain host; raises LinkRefused, which tells only of the text, never of a network."""
    parts = _LINK.match(_checked(text))
    if parts is None:
        raise LinkRefused("must be a link that begins with http:// or https://.")
    scheme, authority, target = parts["scheme"].lower(), parts["authority"], parts["target"]
    if "@" in authority:
        raise LinkRefused(
            "must not have a user name or password in its link. Remove what stands before the @."
        )
    pieces = _AUTHORITY.fullmatch(authority)
    if pieces is None:
        raise LinkRefused("must have a plain host name in its link, and at most one port.")
    port = int(pieces["port"]) if pieces["port"] else _DEFAULT_PORTS[scheme]
    if port > 65535:
        raise LinkRefused("must have a port from 1 to 65535 in its link.")
    return Link(scheme, _read_host(pieces["host"]), port, target if target.startswith("/") else f"/{target}")


def _checked(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise LinkRefused(f"must be a link of at most {MAX_CHARACTERS} characters.")
    if not _PLAIN.fullmatch(text):
        raise LinkRefused(
            "must be a link in plain ASCII without spaces and backslashes. Percent-encode other characters of its "
            "path, and write its host in the xn-- form."
        )
    return text


def _read_host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise LinkRefused("must have a valid IPv6 address in its link.") from None
    host = text.lower()
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise LinkRefused("must have its IPv4 address as four decimal numbers, or a host name.") from None
    if len(host) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise LinkRefused("must have a plain host name in its link: letters, digits, hyphens and dots.")
    return host
