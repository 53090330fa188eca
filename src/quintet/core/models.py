"""What a model is, and what state it is in. Reading catalogs and loading are runtime's work."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Task = Literal["text", "vision", "image", "animation", "upscale", "speech", "embedding"]
SourceFormat = Literal["openvino", "safetensors", "diffusers", "ctranslate2"]


class ModelState(StrEnum):
    """absent → downloading → installed → loading → ready → draining → installed; failed from anywhere."""

    ABSENT = "absent"
    DOWNLOADING = "downloading"
    INSTALLED = "installed"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place on the hub that has a model's weights."""

    repo: str
    """Owner/name on the hub."""
    format: SourceFormat
    revision: str = "main"
    """Branch, tag or commit; it is pinned to the commit when it is pulled."""
    subfolder: str = ""
    """Only this folder of the repository; empty = all of it."""
    precision: str = ""
    """What the weights are stored in: int8, int4, fp16, …; empty = whatever the repository has."""
    gated: bool = False
    """The owner wants its licence accepted on the hub first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One catalog entry. `options` go to the engine as they are."""

    name: str
    task: Task
    engine: str
    """The engine room that runs it: "text", "echo", …"""
    architecture: str = ""
    """`model_type` of its config.json, or its pipeline's class, where the engine runs some only; empty = unknown."""
    path: str = ""
    """Directory of the weights; empty for engines without any, and for models that are to be pulled."""
    sources: tuple[Source, ...] = ()
    """Where the weights can be pulled from, the best for this server first."""
    aliases: tuple[str, ...] = ()
    context_length: int = 2048
    max_input_tokens: int | None = None
    """Longest prompt accepted, in tokens; None = the context length minus one."""
    default_new_tokens: int = 512
    """What a dialect without its own default generates at most."""
    max_image_side: int = 1024
    """Pixels of the longer side of a picture that a request may hold; larger ones are made smaller first."""
    max_in_flight: int = 100
    licence: str = ""
    description: str = ""
    disk_bytes: int = 0
    """Size of what the first source downloads; 0 = unknown."""
    memory_bytes: int = 0
    """Estimated peak memory of the worker; 0 = unknown."""
    chat_template: str = ""
    """Jinja text used instead of the template that comes with the weights."""
    tool_format: str = ""
    """How it writes tool calls: hermes, llama3 or mistral; empty = found out from its template."""
    defaults: dict[str, str | int | float | bool] = field(default_factory=dict)
    """What its makers recommend where a caller says nothing: temperature, top_p, steps, guidance, …"""
    loras: dict[str, str] = field(default_factory=dict)
    """Low-rank adapters that requests for pictures may name, and the safetensors file of each."""
    created: int = 0
    """Unix time shown in model lists."""
    options: dict[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def can_see(self) -> bool:
        """Whether pictures are allowed in its prompts."""
        return self.task == "vision"

    @property
    def is_heavy(self) -> bool:
        """Whether a step of its work takes all cores for as long as it takes; chats with other models go first."""
        return self.task not in ("text", "embedding")

    @property
    def is_installed(self) -> bool:
        """Whether its weights were pulled or it needs none; one with sources but no path is only known."""
        return bool(self.path) or not self.sources


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """A model and how it is doing now."""

    model: Model
    state: ModelState
    reason: str = ""
    """Why it failed, in words safe to show."""
    retry_seconds: float | None = None
    """Time until the next attempt to load."""
    in_flight: int = 0
    device: str = ""
    """Where the loaded model runs, such as "CPU"; empty while it isn't loaded."""
