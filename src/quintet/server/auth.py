"""Who may come in: the Host check, bans, and the credential that makes a request somebody's.

Nothing here looks at the request's URL; each route says itself what it asks for. A missing credential is not a
failure, a store that can't be read is not a failure; a credential that is presented and wrong is one.
"""

from __future__ import annotations

import logging
import re
from typing import Literal
from urllib.parse import parse_qsl

from quintet.core.errors import Banned, Forbidden, InvalidRequest, Unauthenticated
from quintet.core.identity import LOCAL, Principal
from quintet.server.addresses import AddressBook, parse_address
from quintet.server.bans import Bans
from quintet.server.exchange import Exchange
from quintet.store.keycache import KeyCache

log = logging.getLogger(__name__)

Policy = Literal["key", "admin"]
"""Whom a route lets in: any principal, or one that may manage the server."""

PLACEHOLDER = b"local"
"""Client libraries insist on a key; on a server that needs none, this word stands for no key."""
PROXY_HEADERS = (
    b"x-forwarded-for",
    b"forwarded",
    b"via",
    b"x-real-ip",
    b"x-forwarded-host",
    b"x-forwarded-proto",
)
"""Whatever has one of these came through a proxy, so its sender may be anywhere."""
QUERY_TOKENS = frozenset({"token", "api_key", "access_token"})
_BEARER = re.compile(rb"bearer +([!-~]{1,256})", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOW = "Send your key as `Authorization: Bearer qt_…`; `quintet keys create --owner NAME` makes one."


class Gatekeeper:
    """Decides for one server who may come in."""

    def __init__(
        self,
        keys: KeyCache,
        bans: Bans,
        addresses: AddressBook,
        *,
        local_allowed: bool,
        accepted_hosts: frozenset[str] | None,
    ) -> None:
        """`accepted_hosts` are the names a Host header may have; None accepts every well-formed one."""
        self._keys = keys
        self._bans = bans
        self._addresses = addresses
        self._local_allowed = local_allowed
        self._accepted_hosts = accepted_hosts

    def identify(self, exchange: Exchange) -> None:
        """Find out the client's address and check the Host header; raises InvalidRequest."""
        client = exchange.scope.get("client")
        peer = client[0] if client else ""
        forwarded = exchange.headers(b"x-forwarded-for")
        exchange.address = self._addresses.resolve(peer, [value.decode("latin-1") for value in forwarded])
        hosts = exchange.headers(b"host")
        match = _HOST.fullmatch(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
        if match is None:
            raise InvalidRequest(
                "The request must have exactly one Host header with a plain host name.", code="bad_host"
            )
        if self._accepted_hosts is not None and match[1].lower() not in self._accepted_hosts:
            raise InvalidRequest(
                "This server does not answer to that Host. Use the address it printed at start, or add the name to "
                "auth.allowed_hosts.",
                code="bad_host",
            )

    def check_ban(self, exchange: Exchange) -> None:
        """Raise Banned while the client's address is banned, whatever credential it has."""
        left = self._bans.seconds_left(exchange.address)
        if left > 0:
            raise Banned(
                "Too many failed attempts from this address. Wait until the ban is over.", retry_after=left
            )

    def has_credential(self, exchange: Exchange) -> bool:
        """Whether a credential was presented in the headers."""
        found = exchange.headers(b"authorization")
        return bool(found) and not (self._local_allowed and self._is_placeholder(found))

    def needs_credential(self, exchange: Exchange) -> bool:
        """Whether this request can't be the local principal's."""
        return not self._local_allowed or not self._is_from_here(exchange)

    async def authenticate(self, exchange: Exchange, policy: Policy, body_token: object = None) -> Principal:
        """Who asks; raises Banned, Unauthenticated, Forbidden or StoreUnavailable.

        `body_token` is what the body held under `token`, for operations that take it there; a header wins over it.
        """
        self.check_ban(exchange)
        self._refuse_query_token(exchange)
        token = self._presented(exchange, body_token)
        if token is not None:
            principal = await self._verify(exchange, token)
        elif self.needs_credential(exchange):
            raise Unauthenticated("A key is needed here. " + _HOW)
        else:
            self._refuse_foreign_origin(exchange)
            principal = LOCAL
        exchange.principal = principal
        if policy == "admin" and not principal.admin:
            raise Forbidden(
                "Only an admin key may do that. `quintet keys create --admin --owner NAME` makes one."
            )
        return principal

    async def _verify(self, exchange: Exchange, token: str) -> Principal:
        principal = await self._keys.verify(token)
        self.check_ban(exchange)  # others may have failed meanwhile; a race must not buy more attempts
        if principal is None:
            self._count_failure(exchange)
            raise Unauthenticated("This key is not valid. " + _HOW)
        self._bans.succeed(exchange.address)
        return principal

    def _presented(self, exchange: Exchange, body_token: object) -> str | None:
        if self.has_credential(exchange):
            found = exchange.headers(b"authorization")
            match = _BEARER.fullmatch(found[0]) if len(found) == 1 else None
            if match is None:
                self._count_failure(exchange)
                raise Unauthenticated("The Authorization header is malformed. " + _HOW)
            return match[1].decode("ascii")
        if body_token is None:
            return None
        if not isinstance(body_token, str):
            raise InvalidRequest("`token` must be a string.", param="token")
        if self._local_allowed and body_token.encode("utf-8", "replace") == PLACEHOLDER:
            return None
        return body_token

    def _count_failure(self, exchange: Exchange) -> None:
        if not self._addresses.is_trusted(exchange.address) and self._bans.fail(exchange.address):
            log.warning("address %s is banned after too many wrong keys", exchange.address)

    @staticmethod
    def _is_placeholder(found: list[bytes]) -> bool:
        match = _BEARER.fullmatch(found[0]) if len(found) == 1 else None
        return match is not None and match[1] == PLACEHOLDER

    @staticmethod
    def _is_from_here(exchange: Exchange) -> bool:
        """Whether the request comes from this machine itself and not through a proxy on it."""
        if any(exchange.headers(name) for name in PROXY_HEADERS):
            return False
        address = parse_address(exchange.address)
        return address is not None and address.is_loopback

    @staticmethod
    def _refuse_query_token(exchange: Exchange) -> None:
        query = exchange.scope["query_string"]
        if query and any(name.lower() in QUERY_TOKENS for name, _ in parse_qsl(query.decode("latin-1"))):
            raise Unauthenticated("Keys are not accepted in the URL, where they end up in logs. " + _HOW)

    def _refuse_foreign_origin(self, exchange: Exchange) -> None:
        """A page of some other site in a browser on this machine must not be the local principal."""
        for origin in exchange.headers(b"origin"):
            scheme, _, host = origin.decode("latin-1").partition("://")
            match = _HOST.fullmatch(host)
            accepted = self._accepted_hosts or _LOOPBACK_NAMES
            if scheme not in ("http", "https") or match is None or match[1].lower() not in accepted:
                raise Forbidden(
                    "Pages of other sites may not use this server without a key.", code="foreign_origin"
                )


def accepted_hosts(host: str, is_loopback: bool, configured: tuple[str, ...]) -> frozenset[str] | None:
    """The Host names a server bound to `host` answers to; None = every one, for binds that need keys anyway."""
    if not is_loopback and not configured:
        return None
    own = f"[{host}]" if ":" in host else host
    return _LOOPBACK_NAMES | {own.lower()} | {name.lower() for name in configured}
