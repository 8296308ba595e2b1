"""The console of one gateway process: what it keeps while the process runs, and its routes."""

import time
from collections.abc import Callable, Mapping

from fastapi import APIRouter

from reelspace.gateway.console.clip_encoder import clip_encoder
from reelspace.gateway.console.endpoints import ConsoleEndpoints, Doors
from reelspace.gateway.console.overview import Gauges, Overview
from reelspace.gateway.console.recall_history import RecallHistory
from reelspace.gateway.console.replica_states import ReplicaStates
from reelspace.gateway.console.routes import console_router
from reelspace.gateway.console.sessions import Sessions
from reelspace.gateway.guard import Guard
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access.seen_collections import SeenCollections
from reelspace.serving.bodies import Bodies
from reelspace.serving.endpoint import Endpoint


class Console:
    """Keeps sign-ins, what searches found over the last hour, and how the servers behind the gateway do."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Know nothing yet."""
        self.sessions = Sessions(time.monotonic)
        self.history = RecallHistory()
        self.replicas = ReplicaStates(settings.tritons, time.monotonic)
        self._start_s = time.monotonic()

    def router(
        self,
        catalog: Callable[[], SeenCollections],
        guard: Guard,
        bodies: Bodies,
        endpoint: Endpoint | None,
        num_waiting: Callable[[], int],
        refusals: Callable[[], Mapping[str, int]],
    ) -> APIRouter:
        """Make the routes.

        Args:
            catalog: asked for requests, after the server has started.
            endpoint: where files are encoded; None without.
        """
        gauges = Gauges(num_waiting, refusals, lambda: time.monotonic() - self._start_s)
        overview = Overview(catalog, self.history, self.replicas, gauges)
        endpoints = ConsoleEndpoints(overview, Doors(guard, self.sessions, bodies), clip_encoder(endpoint))
        return console_router(endpoints, guard.permitted)
