"""A whole gateway process in front of a Triton, whose models count as promoted.

`python -m benchmarks.serving_parts.gateway SETTINGS MODELS`, both JSON.
"""

import sys

import orjson

from reelspace.core.settings import read
from reelspace.core.store import open_store
from reelspace.gateway.app import ServedModels, create_app
from reelspace.gateway.server import serve
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector
from reelspace.serving.upstream import fetch_signatures


def main(settings_json: str, models_json: str) -> None:
    """Serve until SIGTERM."""
    settings, models = read(GatewaySettings, settings_json), orjson.loads(models_json)
    store = open_store(settings.store)
    served = ServedModels(fetch_signatures(f"http://{settings.triton_http}", models), dict.fromkeys(models, 1))
    serve(create_app(settings, store, connector(settings, store), served), settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
