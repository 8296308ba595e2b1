"""The scheduling layer inside a process that has a catalog: it leads if no other process of the store does."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from reelspace.core.store import Store
from reelspace.gateway.metrics import Metrics
from reelspace.gateway.settings import GatewaySettings
from reelspace.search.access.catalog import Catalog
from reelspace.search.access.controlled import ControlledShards
from reelspace.search.access.keeper import MODULE, Keeper
from reelspace.search.access.together import running
from reelspace.search.scheduling.controller import Controller

TIMEOUT_S: Final = 5.0


@asynccontextmanager
async def scheduling(store: Store, catalog: Catalog, settings: GatewaySettings, metrics: Metrics) -> AsyncIterator[Controller]:
    """Build generations that are overdue, and have what was built loaded, checked and made current, while the block runs."""
    are_elsewhere = settings.backend == "triton"
    shards = ControlledShards(catalog, are_elsewhere=are_elsewhere)
    controller = Controller(store, shards, settings.controller, catalog.backend if are_elsewhere else None)
    metrics.follow_leads(lambda: controller.leads)

    async def overdue() -> Sequence[tuple[str, int]]:
        return await catalog.overdue(TIMEOUT_S) if controller.leads else []

    command = [sys.executable, "-m", MODULE, "--publish"]
    if settings.controller.build_bytes is not None:
        command += ["--memory-bytes", str(settings.controller.build_bytes)]
    async with running(controller.run()), running(Keeper(store, overdue, command).run()):
        yield controller
