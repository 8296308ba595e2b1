"""What every chart must render, whatever its settings; exceptions stand in `exceptions.py`."""

from collections.abc import Callable, Sequence

from . import containers, pods, selectors
from .workloads import Json

Policy = Callable[[Sequence[Json]], list[str]]

POLICIES: tuple[Policy, ...] = (
    containers.run_as_no_root,
    containers.run_as_high_user,
    containers.confine_system_calls,
    containers.drop_capabilities,
    containers.forbid_escalation,
    containers.read_only_root,
    containers.size_empty_dirs,
    containers.reserve_memory,
    containers.limit_disk,
    containers.pin_images,
    containers.keep_secrets_in_files,
    containers.probe_in_three_ways,
    containers.stop_in_time,
    containers.mount_known_volumes,
    pods.hold_no_api_token,
    pods.have_own_account,
    pods.stay_off_the_host,
    pods.spread_over_nodes,
    pods.bound_disruptions,
    pods.are_named_once,
    selectors.select_by_stable_labels,
    selectors.own_their_pods_alone,
    selectors.serve_existing_pods,
    selectors.police_existing_pods,
    selectors.deny_by_default,
    selectors.monitor_existing_services,
)


def findings(objects: Sequence[Json]) -> list[tuple[str, str]]:
    """All that the policies have against rendered objects: the policy's name, and what it found."""
    return [(policy.__name__, finding) for policy in POLICIES for finding in policy(objects)]
