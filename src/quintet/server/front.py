"""The outermost layer: every request gets an id, an address, a checked Host, one ending and one log line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from starlette.routing import BaseRoute

from quintet.core.errors import EngineFailed, MethodNotAllowed, QuintetError
from quintet.server.asgi import App, Message, Receive, Scope, Send, send_reply
from quintet.server.auth import Gatekeeper
from quintet.server.drain import Drain
from quintet.server.exchange import KEY, ClientGone, Exchange, begin
from quintet.server.journal import Journal
from quintet.server.routes import allowed_methods, refuse

log = logging.getLogger(__name__)


class Front:
    """Pure ASGI middleware around everything."""

    def __init__(
        self,
        app: App,
        *,
        gate: Gatekeeper,
        drain: Drain,
        journal: Journal,
        routes: Callable[[], Sequence[BaseRoute]],
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """`routes` are asked for when a path doesn't take a method; `refresh` is called before every request."""
        self._app = app
        self._gate = gate
        self._drain = drain
        self._journal = journal
        self._routes = routes
        self._refresh = refresh

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; lifespan events pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = begin(scope)
        wrapped = self._add_headers(exchange, send)
        try:
            await self._answer(exchange, scope, receive, wrapped)
        except ClientGone:
            exchange.cancel()
        except asyncio.CancelledError:
            exchange.cancel()
            raise
        finally:
            self._journal.write(exchange)
            del scope[KEY]  # scope and exchange know each other; let both go without the garbage collector

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._gate.identify(exchange)
            self._refresh()
            if scope["path"].startswith("//") and self._gate.has_credential(exchange):
                # Clients that join URLs carelessly. Only with a credential: nobody else profits from leniency.
                scope["path"] = "/" + scope["path"].lstrip("/")
            await self._app(scope, receive, send)
        except QuintetError as error:
            await self._refuse(exchange, scope, send, error)
        except ClientGone:
            raise
        except Exception:
            log.exception("request %s: unexpected failure", exchange.request_id)
            failure = EngineFailed("The server failed on this request, which is not to blame. Try again.")
            await self._refuse(exchange, scope, send, failure)

    async def _refuse(self, exchange: Exchange, scope: Scope, send: Send, error: QuintetError) -> None:
        exchange.fail(error)
        if exchange.status:  # the answer has begun: all that is left is to break it off
            return
        reply = refuse(error, scope["path"])
        if isinstance(error, MethodNotAllowed):
            reply = replace(
                reply, headers=(*reply.headers, ("allow", allowed_methods(self._routes(), scope)))
            )
        await send_reply(send, reply)

    def _add_headers(self, exchange: Exchange, send: Send) -> Send:
        async def wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", exchange.request_id.encode("ascii")),
                    (b"x-content-type-options", b"nosniff"),
                ]
                if self._drain.is_on:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        return wrapped
