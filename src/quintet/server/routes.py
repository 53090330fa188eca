"""The routes of a server, each with its policy; fixed paths stand before paths with parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal

from starlette.routing import BaseRoute, Match, Route

from quintet.core.errors import MethodNotAllowed, NotFound, QuintetError
from quintet.dialects.base import Operation, Reply
from quintet.dialects.errors import error_reply
from quintet.dialects.validation import WireModel
from quintet.server.admin import Act, AdminEndpoint
from quintet.server.asgi import Receive, Scope, Send, send_reply
from quintet.server.auth import Gatekeeper, Policy
from quintet.server.endpoint import House, OperationEndpoint
from quintet.server.exchange import KEY, Exchange

View = Callable[[Exchange], Awaitable[Reply]]
Access = Literal["public"] | Policy


class GuardedRoute(Route):
    """A route that says whom it lets in; the application refuses routes of any other kind."""

    def __init__(
        self, path: str, app: OperationEndpoint | ViewEndpoint | AdminEndpoint, method: str, access: Access
    ) -> None:
        """`app` enforces `access`."""
        super().__init__(path, app, methods=[method])
        self.access = access

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the endpoint, or refuse the method in our own words."""
        if self.methods and scope["method"] not in self.methods:
            scope[KEY].route = self.path
            raise MethodNotAllowed(
                "This path does not take that method. The Allow header lists those it takes."
            )
        await self.app(scope, receive, send)


class ViewEndpoint:
    """The ASGI application of a small read-only page."""

    def __init__(self, view: View, access: Access, gate: Gatekeeper) -> None:
        """`view` makes the answer."""
        self._view = view
        self._access = access
        self._gate = gate
        self.path = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check who asks, and answer."""
        exchange: Exchange = scope[KEY]
        exchange.route = self.path
        if self._access != "public":
            await self._gate.authenticate(exchange, self._access)
        await send_reply(send, await self._view(exchange))


def operation_routes(dialects: Mapping[str, Iterable[Operation]], house: House) -> list[GuardedRoute]:
    """The routes of all operations, one per path; all of them need a principal.

    Where several dialects have a path, all but one of them must say which bodies they claim.
    """
    shared: dict[str, dict[str, Operation]] = {}
    for dialect, operations in dialects.items():
        for operation in operations:
            shared.setdefault(operation.path, {})[dialect] = operation
    routes = []
    for path, found in shared.items():
        (rest,) = (dialect for dialect, operation in found.items() if operation.claims is None)
        claimants = {dialect: operation for dialect, operation in found.items() if dialect != rest}
        routes.append(
            GuardedRoute(path, OperationEndpoint(found[rest], rest, house, claimants), "POST", "key")
        )
    return routes


def view_route(path: str, view: View, access: Access, gate: Gatekeeper) -> GuardedRoute:
    """The route of a read-only page."""
    endpoint = ViewEndpoint(view, access, gate)
    endpoint.path = path
    return GuardedRoute(path, endpoint, "GET", access)


def admin_route(
    method: str, path: str, act: Act, house: House, schema: type[WireModel] | None = None
) -> GuardedRoute:
    """The route of an action that only admins may take; `schema` is its body's."""
    endpoint = AdminEndpoint(act, house, schema)
    endpoint.path = path
    return GuardedRoute(path, endpoint, method, "admin")


def in_order(routes: Iterable[GuardedRoute]) -> list[GuardedRoute]:
    """Fixed paths first, so that no parameter swallows them."""
    return sorted(routes, key=lambda route: route.path.count("{"))


async def refuse_path(scope: Scope, receive: Receive, send: Send) -> None:
    """What the router does with a path it doesn't know."""
    raise NotFound("There is no such path here. GET /docs lists those there are.")


def allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """The value of an Allow header: what this path takes."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return ", ".join(sorted(found))


def refuse(error: QuintetError, path: str) -> Reply:
    """An error outside of any operation: in OpenAI's words under /v1, in the native ones elsewhere."""
    return error_reply(error, "openai" if path.startswith("/v1/") else "native")
