"""A whole gateway process that offers the models of these tests: `python -m tests.serving.gateway_program SETTINGS VERSIONS`, both JSON."""

import json
import sys

from reelspace.core.settings import read
from reelspace.core.store import open_store
from reelspace.gateway.app import ServedModels, create_app
from reelspace.gateway.server import serve
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.surroundings import connector

from .models import SIGNATURES


def main(settings_json: str, versions_json: str) -> None:
    settings, versions = read(GatewaySettings, settings_json), json.loads(versions_json)
    store = open_store(settings.store)
    models = ServedModels({model: SIGNATURES[model] for model in versions}, {model: one for model, one in versions.items() if one})
    serve(create_app(settings, store, connector(settings, store), models), settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
