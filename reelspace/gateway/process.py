"""One gateway process, from its settings to its end."""

import time
from typing import Final

from reelspace.core.errors import ServerUnavailable
from reelspace.core.log import log
from reelspace.core.store import Store, open_store
from reelspace.gateway.app import ServedModels, create_app
from reelspace.gateway.server import serve
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector
from reelspace.search.access.served import read_served
from reelspace.search.storage.layout import SPACE_POINTER
from reelspace.serving.signatures import is_graph
from reelspace.serving.upstream import fetch_signatures

LOAD_S: Final = 600.0
PAUSE_S: Final = 2.0


def run(settings: GatewaySettings) -> None:
    """Read what was promoted, ask Triton for the encoders' tensors, and serve until SIGTERM or SIGINT."""
    store = open_store(settings.store)
    models = None if settings.triton_http is None else _models(store, settings.triton_http, waits=settings.backend == "none")
    serve(create_app(settings, store, connector(settings, store), models), settings)


def _models(store: Store, triton_http: str, *, waits: bool) -> ServedModels:
    """Ask for what is offered; where nothing else is served, wait for a Triton that loads."""
    until_s = time.monotonic() + (LOAD_S if waits else 0.0)
    while True:
        try:
            return offered_models(store, triton_http)
        except ServerUnavailable as error:
            if time.monotonic() >= until_s:
                raise
            log("triton_not_ready", error=str(error))
            time.sleep(PAUSE_S)


def offered_models(store: Store, triton_http: str) -> ServedModels:
    """Ask Triton for the tensors of what was promoted; graphs that only models ask are not offered.

    Args:
        triton_http: host:port.
    """
    versions = read_served(store).encoders if store.exists(SPACE_POINTER) else {}
    offered = [model for model in sorted(versions) if not is_graph(model)]
    return ServedModels(fetch_signatures(f"http://{triton_http}", offered), versions)
