"""Orders an operator gives: promote a version, roll back, and see how a rollout stands."""

from collections.abc import Callable
from dataclasses import dataclass, field

from reelspace.core.errors import GateRefused, PreconditionFailed, UserError
from reelspace.core.store import Store
from reelspace.serving.rollout.evidence import Evidence, total
from reelspace.serving.rollout.gates import Gates
from reelspace.serving.rollout.promoter import Pace, Promoted, Promoter, World
from reelspace.serving.rollout.state import ENDED, MAX_CANARY, Rollout, Seen, find_rollout, now_us, read_seen, remove_seen, write_rollout
from reelspace.serving.rollout.version_folders import VersionFolders

Tell = Callable[[Rollout, str], None]
BY_HAND = "asked for by hand"


@dataclass(frozen=True, slots=True)
class Order:
    """A version that is to serve, the share of requests that it gets before, and what it must keep to."""

    model: str
    version: int
    share: float = MAX_CANARY
    gates: Gates = field(default_factory=Gates)


def promote(world: World, order: Order, pace: Pace, tell: Tell) -> Rollout:
    """Roll a version out, or go on with its rollout where a promoter was killed.

    Raises:
        UserError: the version is not there, serves already, or is of another space than the collection; or another one is being rolled out.
        GateRefused: it was rolled back; the message says why.
        ServerUnavailable: another promoter is at work on it.
    """
    found = find_rollout(world.store, order.model)
    if found is None or found.rollout.stage in ENDED:
        rollout = _begun(world, order, 1 if found is None else found.rollout.number + 1)
        remove_seen(world.store, order.model)
        write_rollout(world.store, rollout, found)
    else:
        rollout = found.rollout
        if rollout.candidate != order.version:
            raise UserError(
                f"version {rollout.candidate} of {order.model} is being rolled out ({rollout.stage}): wait for it, "
                f"or end it with `reelspace serve rollback {order.model}`"
            )
    ended = Promoter(world, order.model, pace, tell).run()
    if ended.number != rollout.number:
        raise GateRefused(f"version {order.version} of {order.model} was rolled back: {BY_HAND}; version {ended.candidate} serves")
    if ended.stage == "rolled_back":
        raise GateRefused(f"version {order.version} of {order.model} was rolled back: {ended.reason}; version {ended.stable} serves on")
    return ended


def roll_back(world: World, model: str, pace: Pace, tell: Tell) -> Rollout:
    """Have the version serve that served before the newest rollout; gives the rollout that ended, or the one that leads back.

    Raises:
        UserError: there is nothing to roll back.
    """
    promoter = Promoter(world, model, pace, tell)
    while True:
        found = find_rollout(world.store, model)
        if found is None:
            raise UserError(f"there was never a rollout of {model}")
        rollout = found.rollout
        try:
            if rollout.stage in ("loading", "comparing", "canary"):
                write_rollout(world.store, rollout.at("rolling_back", BY_HAND), found)
            elif rollout.stage == "flipping":
                promoter.run(until=(*ENDED, "rolling_back", "flipped"), is_patient=True)
                continue
            elif rollout.stage in ("flipped", "retired"):
                write_rollout(world.store, _back(world.promoted, rollout), found)
            elif rollout.stage == "rolled_back":
                raise UserError(
                    f"version {rollout.candidate} of {model} was rolled back already ({rollout.reason}); {rollout.stable} serves"
                )
        except PreconditionFailed:
            continue  # the promoter went on meanwhile: look again
        return promoter.run(is_patient=True)


@dataclass(frozen=True, slots=True)
class Status:
    """The newest rollout of a model, and what gateways saw of its present stage."""

    rollout: Rollout
    evidence: Evidence
    gateways: list[Seen]

    def as_json(self) -> dict[str, object]:
        """Give it for machines."""
        gateways = {one.gateway: {"stage": one.stage, "version": one.version, "tripped": one.tripped} for one in self.gateways}
        return {**self.rollout.model_dump(mode="json"), "evidence": self.evidence.model_dump(mode="json"), "gateways": gateways}


def status(store: Store, model: str) -> Status | None:
    """Tell how a model's newest rollout stands, None where there was never one."""
    found = find_rollout(store, model)
    if found is None:
        return None
    rollout = found.rollout
    gateways = [one for one in read_seen(store, model) if one.number == rollout.number]
    return Status(rollout, total(one.evidence for one in gateways if one.stage == rollout.stage), gateways)


def rolled_out_models(store: Store) -> list[str]:
    """Name the models that there was ever a rollout of."""
    names = [key.removeprefix("rollouts/").removesuffix(".json") for key in store.list("rollouts/")]
    return [name for name in names if "/" not in name]


def line(rollout: Rollout, evidence: Evidence | None = None) -> str:
    """Write how a rollout stands on one line."""
    evidence = evidence or Evidence()
    parts = [f"{rollout.model}: {rollout.stable} -> {rollout.candidate} {rollout.stage}"]
    if evidence.requests:
        parts.append(f"{evidence.asked} of {evidence.requests} requests asked it")
    if evidence.compared:
        times = evidence.candidate_s / evidence.stable_s if evidence.stable_s else 0.0
        parts.append(f"{evidence.compared} compared: cosine {evidence.agreement / evidence.compared:.4f}, {times:.2f} x the time")
    if evidence.num_failures:
        parts.append(f"{evidence.num_failures} failed")
    return ", ".join([*parts, *([rollout.reason] if rollout.reason else [])])


def _begun(world: World, order: Order, number: int) -> Rollout:
    """Check what can be checked before anything is loaded."""
    serving = world.promoted.versions().get(order.model)
    if serving is None:
        raise UserError(f"no version of {order.model} was promoted: publish the model and its index with a pipeline first")
    if serving == order.version:
        raise UserError(f"version {order.version} of {order.model} serves already")
    folders = VersionFolders(world.store, order.model)
    versions = folders.versions()
    if order.version not in versions:
        raise UserError(f"repository/{order.model} in {world.store.url} holds versions {versions}, not {order.version}")
    space, promoted = folders.space_id(order.version), world.promoted.space_id()
    if space != promoted:
        raise UserError(
            f"version {order.version} of {order.model} embeds into space {space}, the collection that serves is of {promoted}: its vectors "
            "cannot be compared. A new space needs a new index: `reelspace pipeline run train_and_publish` flips both together"
        )
    now = now_us()
    return Rollout(
        model=order.model,
        number=number,
        stable=serving,
        candidate=order.version,
        share=order.share,
        gates=order.gates,
        started_at_us=now,
        stage_at_us=now,
    )


def _back(promoted: Promoted, rollout: Rollout) -> Rollout:
    if rollout.is_known:
        raise UserError(f"version {rollout.candidate} of {rollout.model} serves after a rollback: promote the version that is to serve")
    serving = promoted.versions().get(rollout.model)
    if serving != rollout.candidate:
        raise UserError(f"version {serving} of {rollout.model} was promoted after this rollout: promote the version that is to serve")
    now = now_us()
    changes = {"number": rollout.number + 1, "stable": rollout.candidate, "candidate": rollout.stable, "is_known": True, "stage": "loading"}
    return rollout.model_copy(update=changes | {"reason": BY_HAND, "started_at_us": now, "stage_at_us": now, "owner": ""})
