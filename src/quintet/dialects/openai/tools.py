"""`tools`, `tool_choice` and `parallel_tool_calls` of a chat completion → what the model may call."""

from __future__ import annotations

import json

from quintet.core.errors import InvalidRequest, Unsupported
from quintet.core.requests import Tool, ToolUse
from quintet.dialects.openai.wire import ChatBody
from quintet.dialects.openai.wire import Tool as ToolBody

MAX_TOOL_BYTES = 64 * 1024
"""One function's description and schema."""
MAX_TOOLS_BYTES = 512 * 1024
"""All functions of a request."""


def parse_tools(body: ChatBody) -> ToolUse | None:
    """Which functions there are, and whether one must be called; None without any. Raises InvalidRequest."""
    chosen = body.tool_choice or "auto"
    if not body.tools:
        if chosen not in ("auto", "none"):
            raise InvalidRequest(
                "`tool_choice` is only allowed with `tools`. Send them too, or leave it out.",
                param="tool_choice",
            )
        return None
    tools = tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(body.tools))
    if sum(len(tool.description) + len(tool.parameters) for tool in tools) > MAX_TOOLS_BYTES:
        raise InvalidRequest(
            f"`tools` may have at most {MAX_TOOLS_BYTES // 1024} KiB together. Send fewer or shorter ones.",
            param="tools",
        )
    parallel = body.parallel_tool_calls is not False
    if isinstance(chosen, str):
        return ToolUse(tools=tools, choice=chosen, parallel=parallel)
    named = tuple(tool for tool in tools if tool.name == chosen.function.name)
    if not named:
        raise InvalidRequest(
            "`tool_choice.function.name` must be the name of one of `tools`. Correct it or add that tool.",
            param="tool_choice.function.name",
        )
    return ToolUse(tools=named[:1], choice="required", parallel=parallel)


def _tool(tool: ToolBody, field: str) -> Tool:
    if tool.type != "function":
        raise Unsupported(f"`{field}.type` must be function. Remove other tools.", param=f"{field}.type")
    function = tool.function
    parameters = function.parameters or {}
    if parameters and parameters.get("type", "object") != "object":
        raise InvalidRequest(
            f"`{field}.function.parameters` must be a JSON schema whose `type` is object. Correct it.",
            param=f"{field}.function.parameters",
        )
    try:
        text = json.dumps(parameters, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode()) + len((function.description or "").encode())
    except (ValueError, RecursionError):
        raise InvalidRequest(
            f"`{field}.function.parameters` must be JSON. Correct it.", param=f"{field}.function.parameters"
        ) from None
    if size > MAX_TOOL_BYTES:
        raise InvalidRequest(
            f"`{field}.function` may have at most {MAX_TOOL_BYTES // 1024} KiB of description and schema. "
            "Shorten it.",
            param=f"{field}.function",
        )
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=text,
        strict=bool(function.strict),
    )
