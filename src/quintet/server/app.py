"""The composition root: everything a server is made of is put together here, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from fastapi import FastAPI

from quintet import __version__
from quintet.config import ConfigError, Settings
from quintet.core.models import Model
from quintet.dialects import imagine, krutrim, manager, openai, tgi, visioncraft
from quintet.dialects.base import Operation, Reply
from quintet.log import Logger
from quintet.media.decoder import Decoder
from quintet.media.fetch import Fetcher, FetchPolicy
from quintet.runtime.admission import Admission
from quintet.runtime.catalog import Catalog, make_catalog, read_catalog
from quintet.runtime.local import LocalBackend
from quintet.runtime.meter import Meter
from quintet.runtime.pictures import PictureRoom
from quintet.runtime.service import Deadlines, Service
from quintet.runtime.supervisor import Patience
from quintet.server.addresses import AddressBook, parse_address
from quintet.server.admin import Admin, PullBody
from quintet.server.auth import Gatekeeper, accepted_hosts
from quintet.server.bans import Bans
from quintet.server.body import Pace, body_budget
from quintet.server.drain import Drain
from quintet.server.endpoint import House
from quintet.server.exchange import Exchange
from quintet.server.files import ROUTE as FILES_ROUTE
from quintet.server.files import Files
from quintet.server.front import Front
from quintet.server.health import Health
from quintet.server.inspection import Inspector
from quintet.server.journal import Journal
from quintet.server.metrics import Metrics
from quintet.server.openapi import describe, render_page
from quintet.server.painters import Painters
from quintet.server.pulls import Pulls
from quintet.server.routes import (
    GuardedRoute,
    admin_route,
    in_order,
    operation_routes,
    refuse_path,
    view_route,
)
from quintet.server.shelf import Shelf
from quintet.server.stream import Waits
from quintet.store.keycache import KeyCache
from quintet.store.keys import KeyStore
from quintet.weights.preflight import can_run

DIALECTS: Mapping[str, tuple[Operation, ...]] = {
    "openai": openai.OPERATIONS,
    "tgi": tgi.OPERATIONS,
    "krutrim": krutrim.OPERATIONS,
    "manager": manager.OPERATIONS,
    "visioncraft": visioncraft.OPERATIONS,
    "imagine": imagine.OPERATIONS,
}
"""Every dialect the server speaks; of those that share a path, the earlier one is asked first whose a body is."""
ENGINES: Mapping[str, str] = {
    "text": "quintet.engines.text.engine:open_engine",
    "embed": "quintet.engines.embed.engine:open_engine",
    "image": "quintet.engines.image.engine:open_engine",
    "echo": "quintet.engines.echo:open_engine",
    "upstream": "quintet.engines.upstream:open_engine",
}
"""Which function opens an engine, in the worker's process."""
MODELS_FOLDER = "models"
"""Under $QUINTET_HOME: catalog files (*.toml) of the models that were added to this machine."""
FILES_FOLDER = "files"
"""Under $QUINTET_HOME: finished pictures that callers get by a link; gone with the server."""
DENOISERS_FOLDER = "cache/denoisers"
"""Under $QUINTET_HOME: what was converted to draw faster; all of it can be made again."""
ADAPTERS_FOLDER = "adapters"
"""Under $QUINTET_HOME: MODEL/ADAPTER/ directories of text LoRA, as PEFT saves them."""
PAGE_HEADERS = (
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("cache-control", "no-store"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One server, put together but not yet listening."""

    settings: Settings
    app: FastAPI
    service: Service
    drain: Drain
    bans: Bans
    addresses: AddressBook
    journal: Journal
    keys: KeyCache
    pulls: Pulls
    files: Files
    logger: Logger

    def sockets_per_address(self, address: str) -> int:
        """How many connections one address may have open: more on this machine and for proxies."""
        parsed = parse_address(address)
        is_near = parsed is None or parsed.is_loopback or self.addresses.is_trusted(address)
        limits = self.settings.limits
        return limits.sockets_per_address if is_near else limits.sockets_per_remote_address


def read_models(settings: Settings) -> Catalog:
    """The catalog of this server with what is installed now; raises ConfigError or CatalogError."""
    return _read(make_shelf(settings), settings)


def make_shelf(settings: Settings) -> Shelf:
    """The shelf of this server; what the settings name may be still to be pulled. Raises CatalogError."""
    folder = settings.home / MODELS_FOLDER
    read = read_catalog([folder] if folder.is_dir() else [], with_echo=settings.echo.enabled)
    return Shelf(
        read.models,
        settings.home,
        lambda models, lenient: _name_models(models, settings, lenient=lenient),
        settings.aliases,
    )


def _read(shelf: Shelf, settings: Settings) -> Catalog:
    catalog = shelf.read()
    if settings.default_model not in catalog:
        names = ", ".join(sorted(model.name for model in catalog.models if model.is_installed))
        raise ConfigError(
            f"default_model: there is no such model in the catalog. Installed are: {names}; `quintet pull` gets others."
        )
    return catalog


def _name_models(models: Iterable[Model], settings: Settings, *, lenient: bool) -> Catalog:
    """A catalog of these models under the names and limits of the settings; raises CatalogError.

    If `lenient`, aliases of the settings that lead nowhere are left out instead.
    """
    read = make_catalog(_adjust(model, settings) for model in models)
    # An installed model that is really called so, as by its own alias, wins over a built-in alias.
    aliases = {
        alias: read.aliases.get(name, name)
        for alias, name in settings.all_aliases.items()
        if (name in read and alias not in read.taken)
        or (alias in settings.aliases and (name in read or not lenient))
    }
    return make_catalog(read.models, aliases)


def _adjust(model: Model, settings: Settings) -> Model:
    if settings.limits.max_in_flight is not None:
        model = replace(model, max_in_flight=settings.limits.max_in_flight)
    adapters = settings.home / ADAPTERS_FOLDER / model.name
    if model.engine == "text" and adapters.is_dir():
        model = replace(model, options={"adapters": str(adapters), **model.options})
    if model.engine == "image":
        cache = str(settings.home / DENOISERS_FOLDER)
        model = replace(model, options={"cache": cache, **model.options})
    if model.engine == "echo" and settings.echo.faults:
        model = replace(model, options={**model.options, "faults": True})
    return model


def build(settings: Settings, store: KeyStore, logger: Logger) -> Gateway:
    """Put a server together; raises ConfigError or CatalogError."""
    shelf = make_shelf(settings)
    catalog = _read(shelf, settings)
    metrics = Metrics(catalog.by_name)
    journal = Journal(logger, metrics)
    service = _make_service(settings, catalog, Meter(journal.take))
    drain, keys, bans = Drain(), KeyCache(store), _make_bans(settings)
    addresses = AddressBook(settings.auth.trusted_proxies)
    gate = Gatekeeper(
        keys,
        bans,
        addresses,
        local_allowed=settings.local_allowed,
        accepted_hosts=accepted_hosts(settings.host, settings.is_loopback, settings.auth.allowed_hosts),
    )
    _watch(metrics, service, drain, bans, logger)
    pulls = Pulls(settings.home)
    service.is_downloading, service.can_run = pulls.is_running, can_run

    def refresh() -> None:
        shelf.refresh(service, metrics)

    files = Files(
        settings.home / FILES_FOLDER,
        keep_seconds=settings.files.keep_seconds,
        max_bytes=settings.files.max_bytes,
        base_url=settings.files.base_url,
    )
    house = _make_house(settings, service, gate, drain, files, addresses)
    app = _make_app(house, metrics, Admin(house, shelf, pulls, refresh))
    app.add_middleware(
        Front, gate=gate, drain=drain, journal=journal, routes=lambda: app.router.routes, refresh=refresh
    )
    return Gateway(
        settings=settings,
        app=app,
        service=service,
        drain=drain,
        bans=bans,
        addresses=addresses,
        journal=journal,
        keys=keys,
        pulls=pulls,
        files=files,
        logger=logger,
    )


def _make_service(settings: Settings, catalog: Catalog, meter: Meter) -> Service:
    deadlines = Deadlines(
        first_event_seconds=settings.deadlines.first_byte_seconds,
        idle_seconds=settings.deadlines.idle_seconds,
        text_seconds=settings.deadlines.total_seconds,
    )
    # Whoever lets answers take longer has models with longer steps; a hung preparation must be blamed in time.
    usual, first = Patience(), deadlines.first_event_seconds
    patience = replace(
        usual,
        progress_seconds=max(usual.progress_seconds, first, deadlines.idle_seconds),
        prepare_seconds=min(usual.prepare_seconds, first * 2 / 3),
    )
    backend = LocalBackend(patience=patience, factories=ENGINES, check=Inspector(settings.home).check)
    return Service(
        catalog,
        backend,
        Admission(),
        meter,
        _make_picture_room(settings),
        deadlines,
        pixel_steps=settings.limits.pixel_steps,
    )


def _make_picture_room(settings: Settings) -> PictureRoom:
    fetch = settings.fetch
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        fetcher = Fetcher(
            FetchPolicy(
                enabled=fetch.enabled,
                ports=frozenset(fetch.ports),
                hosts=frozenset(fetch.hosts),
                own_origins=frozenset({*fetch.own_origins, f"{host}:{settings.port}"}),
                permitted_addresses=frozenset(fetch.permitted_addresses),
                refused_networks=fetch.refused_networks,
            )
        )
    except ValueError as error:
        raise ConfigError(f"fetch: {error}") from error
    return PictureRoom(Decoder(), fetcher)


def _make_bans(settings: Settings) -> Bans:
    auth = settings.auth
    return Bans(
        time.monotonic,
        failures=auth.ban_failures,
        ban_seconds=auth.ban_seconds,
        forget_seconds=auth.forget_seconds,
        capacity=auth.ban_table_size,
    )


def _make_house(
    settings: Settings,
    service: Service,
    gate: Gatekeeper,
    drain: Drain,
    files: Files,
    addresses: AddressBook,
) -> House:
    deadlines = settings.deadlines
    pace = Pace(
        total_seconds=deadlines.body_seconds,
        bytes_per_second=deadlines.body_bytes_per_second,
        grace_seconds=deadlines.body_grace_seconds,
    )
    waits = Waits(
        commit_seconds=deadlines.commit_seconds,
        ping_seconds=deadlines.ping_seconds,
        write_seconds=deadlines.write_seconds,
    )
    return House(
        service=service,
        gate=gate,
        drain=drain,
        default_model=settings.default_model,
        default_vision_model=settings.default_vision_model,
        default_image_model=settings.default_image_model,
        default_animation_model=settings.default_animation_model,
        default_upscaler=settings.default_upscaler,
        files=files,
        addresses=addresses,
        with_metadata=settings.images.metadata,
        pace=pace,
        waits=waits,
        budget=body_budget(settings.limits.body_bytes_in_memory),
    )


def _make_app(house: House, metrics: Metrics, admin: Admin) -> FastAPI:
    app = FastAPI(
        title="Quintet",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    health = Health(house.service, house.drain, house.default_model)
    gate = house.gate

    async def show_metrics(exchange: Exchange) -> Reply:
        return metrics.render(house.service.backend.metrics())

    async def show_openapi(exchange: Exchange) -> Reply:
        return Reply(body=msgspec.json.encode(app.openapi()))

    async def show_docs(exchange: Exchange) -> Reply:
        page = render_page(app.openapi())
        return Reply(body=page, content_type="text/html; charset=utf-8", headers=PAGE_HEADERS)

    views = [
        *_drawing_views(Painters(house.service, house.default_image_model), gate),
        view_route("/", health.health, "public", gate),
        view_route("/health", health.health, "public", gate),
        view_route("/ping", health.health, "public", gate),
        view_route("/ready", health.ready, "public", gate),
        view_route("/info", health.info, "public", gate),
        view_route("/v1/models", health.models, "key", gate),
        view_route("/v1/models/{model:path}", health.model, "key", gate),
        view_route(FILES_ROUTE, house.files.show, "public", gate),
        view_route("/metrics", show_metrics, "admin", gate),
        view_route("/openapi.json", show_openapi, "admin", gate),
        view_route("/docs", show_docs, "admin", gate),
    ]
    operations = operation_routes(DIALECTS, house)
    managing = [
        admin_route("GET", "/admin/models", admin.list, house),
        admin_route("POST", "/admin/models/pull", admin.pull, house, PullBody),
        admin_route("DELETE", "/admin/models/{model:path}", admin.remove, house),
    ]
    routes: list[GuardedRoute] = in_order([*views, *managing, *operations])
    app.router.routes[:] = routes
    app.router.default = refuse_path
    document: dict[str, Any] = {}

    def openapi_document() -> dict[str, Any]:
        if not document:
            document.update(describe(routes))
        return document

    app.openapi = openapi_document  # type: ignore[method-assign]
    return app


def _drawing_views(painters: Painters, gate: Gatekeeper) -> list[GuardedRoute]:
    """VisionCraft's lists, open to everybody as the original's are, and the pages under /imagine."""
    lists = {
        painters.models: ("/sd/models", "/models", "/models-xl"),
        painters.text_models: ("/models-llm",),
        painters.upscalers: ("/models-upscale",),
        painters.samplers: ("/sd/samplers", "/samplers", "/samplers-xl", "/img2img/schedulers"),
        painters.loras: ("/sd/loras", "/loras", "/loras-xl"),
        painters.refiners: ("/img2img/refiners",),
    }
    return [
        *(view_route(path, view, "public", gate) for view, paths in lists.items() for path in paths),
        view_route("/imagine/health", painters.imagine_health, "key", gate),
        view_route("/imagine/info", painters.imagine_info, "key", gate),
    ]


def _watch(metrics: Metrics, service: Service, drain: Drain, bans: Bans, logger: Logger) -> None:
    """Gauges that are read when somebody asks for the metrics."""
    metrics.watch("in_flight", "Requests being worked on.", lambda: drain.in_flight)
    metrics.watch("addresses_with_failures", "Addresses with failed credentials.", lambda: len(bans))
    metrics.watch("log_lines_dropped", "Log lines lost to a slow reader.", lambda: logger.writer.dropped)
    metrics.watch(
        "models_ready", "Models that are loaded.", lambda: sum(s.state == "ready" for s in service.models())
    )
