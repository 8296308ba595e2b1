"""One gateway process, from its settings to its end."""

from reelspace.core.store import open_store
from reelspace.gateway.app import ServedModels, create_app
from reelspace.gateway.server import serve
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector
from reelspace.search.access.served import read_served
from reelspace.search.storage.layout import SPACE_POINTER
from reelspace.serving.upstream import fetch_signatures


def run(settings: GatewaySettings) -> None:
    """Read what was promoted, ask Triton for the encoders' tensors, and serve until SIGTERM or SIGINT."""
    store = open_store(settings.store)
    models = None
    if settings.triton_http is not None:
        versions = read_served(store).encoders if store.exists(SPACE_POINTER) else {}
        models = ServedModels(fetch_signatures(f"http://{settings.triton_http}", sorted(versions)), versions)
    serve(create_app(settings, store, connector(settings, store), models), settings)
