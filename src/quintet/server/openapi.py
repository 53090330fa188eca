"""The OpenAPI description of all routes, and a page that shows it without loading anything from elsewhere."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from quintet import __version__
from quintet.server.admin import AdminEndpoint
from quintet.server.endpoint import OperationEndpoint
from quintet.server.routes import GuardedRoute

_REF = "#/components/schemas/{model}"
_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.5 ui-monospace,monospace}summary{cursor:pointer;padding:.3rem 0}
b{display:inline-block;min-width:4rem}table{border-collapse:collapse;margin:.5rem 0 1rem}
td,th{border-bottom:1px solid #8884;padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
"""


def describe(routes: Sequence[GuardedRoute]) -> dict[str, Any]:
    """The OpenAPI document."""
    models = {model for route in routes for model in _body_models(route)}
    schemas, components = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=_REF,
    )
    references: dict[type[Any], dict[str, Any]] = {model: found for (model, _mode), found in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        method = next((m for m in ("post", "delete") if m.upper() in (route.methods or ())), "get")
        paths.setdefault(route.path_format, {})[method] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Quintet", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _body_models(route: GuardedRoute) -> list[type[BaseModel]]:
    """What the body may look like: several things on a path that several dialects have."""
    schemas: list[type[Any] | None] = []
    if isinstance(route.app, OperationEndpoint):
        schemas = [operation.schema for operation in route.app.operations.values()]
    elif isinstance(route.app, AdminEndpoint):
        schemas = [route.app.schema]
    return [schema for schema in schemas if schema is not None and issubclass(schema, BaseModel)]


def _operation(route: GuardedRoute, references: dict[type[Any], dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {"responses": {"200": {"description": "The answer"}}}
    parameters = [(name, "path") for name in route.param_convertors]
    if isinstance(route.app, OperationEndpoint):
        parameters += [(name, "query") for name in route.app.operation.query]
    if parameters:
        described["parameters"] = [
            {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
            for name, place in parameters
        ]
    if route.access != "public":
        described["security"] = [{"key": []}]
        described["responses"]["401"] = {"description": "A key is needed"}
    if isinstance(route.app, OperationEndpoint):
        operation = route.app.operation
        others = [each.summary for each in route.app.operations.values() if each is not operation]
        described |= {
            "summary": ". ".join([operation.summary, *others]),
            "tags": list(route.app.operations),
        }
        described["responses"]["400"] = {"description": "The body breaks a rule; the message names it"}
    models = _body_models(route)
    if models:
        bodies = [references[model] for model in models]
        schema = bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
        content = {"application/json": {"schema": schema}}
        if isinstance(route.app, OperationEndpoint) and route.app.operation.accepts_form:
            content["multipart/form-data"] = {"schema": schema}
        described["requestBody"] = {"required": True, "content": content}
    return described


def render_page(document: dict[str, Any]) -> bytes:
    """The document as HTML for people."""
    parts = [f"<!doctype html><meta charset=utf-8><title>Quintet</title><style>{_STYLE}</style>"]
    parts.append(f"<h1>Quintet {html.escape(document['info']['version'])}</h1>")
    parts.append(
        "<p>The same for programs: <a href=/openapi.json>/openapi.json</a>. Keys go into the header "
    )
    parts.append("<code>Authorization: Bearer qt_…</code>.</p>")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            summary = html.escape(operation.get("summary", ""))
            title = f"<b>{method.upper()}</b> <code>{html.escape(path)}</code> {summary}"
            parts.append(f"<details><summary>{title}</summary>{_fields(operation, document)}</details>")
    return "".join(parts).encode()


def _fields(operation: dict[str, Any], document: dict[str, Any]) -> str:
    """The body's fields as a table, and a table for each object that stands inside it."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "schema" not in content:
        return "<p>No body.</p>"
    components = document["components"]["schemas"]
    bodies = content["schema"].get("anyOf", [content["schema"]])
    names = [body["$ref"].rpartition("/")[2] for body in bodies]
    for name in names:
        inner = _REFERENCE.findall(json.dumps(components[name]))
        names.extend(other for other in dict.fromkeys(inner) if other not in names)
    return "".join(
        (f"<h4>{html.escape(name)}</h4>" if place else "") + _table(components[name])
        for place, name in enumerate(names)
    )


def _table(schema: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{html.escape(name)}</code>{' *' if name in schema.get('required', ()) else ''}"
        f"<td>{html.escape(_type(field))}<td>{html.escape(field.get('description', ''))}"
        for name, field in schema.get("properties", {}).items()
    ]
    return "<table><tr><th>field<th>type<th>meaning" + "".join(rows) + "</table>"


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "enum" in field:
        return " or ".join(repr(value) for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("type", "anything"))
