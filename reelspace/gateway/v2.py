"""The V2 protocol in the gateway: its endpoint, watched, and its gRPC methods with the errors of the gateway."""

from collections.abc import Callable, Mapping
from functools import partial, wraps

from reelspace.core.store import Store
from reelspace.gateway.metrics import Metrics
from reelspace.search.access.current_request import current_request, trace_headers
from reelspace.search.access.messages.call import Call, Method
from reelspace.search.access.refusal import RequestRefused
from reelspace.search.scheduling.promoted_encoders import PromotedEncoders
from reelspace.serving.endpoint import Endpoint, Observe
from reelspace.serving.endpoint_settings import EndpointSettings
from reelspace.serving.grpc_routes import v2_methods
from reelspace.serving.rollout.followed import FollowedRollouts
from reelspace.serving.signatures import Signature
from reelspace.serving.upstream import Upstream
from reelspace.serving.wire import WireError


def v2_endpoint(
    triton_http: str,
    models: Mapping[str, Signature],
    versions: Mapping[str, int],
    settings: EndpointSettings,
    metrics: Metrics,
    store: Store,
    is_ending: Callable[[], bool],
) -> Endpoint:
    """Make the endpoint in front of a Triton; its inferences are counted, and named in the access log.

    Args:
        triton_http: host:port.
        versions: version by model that answers, as the pointer of what is promoted says.
        store: where versions are rolled out.
        is_ending: tells whether the gateway takes nothing new.
    """
    upstream = Upstream(f"http://{triton_http}", settings.timeout_s, versions, trace_headers)
    rollouts = FollowedRollouts(store, models, PromotedEncoders(store).versions, settings.rollout_poll_s)
    endpoint = Endpoint(upstream, models, settings, _observer(metrics.count_inference), rollouts, is_ending)
    for model in models:
        metrics.follow_running(model, partial(endpoint.num_running, model))
        metrics.follow_rollout(model, partial(rollouts.candidate, model))
    return endpoint


def gateway_methods(endpoint: Endpoint | None) -> dict[str, Method]:
    """Give the gRPC methods by path, none without an endpoint."""
    return {} if endpoint is None else {path: _refusing(method) for path, method in v2_methods(endpoint).items()}


def _observer(count: Callable[[str, str, str, float], None]) -> Observe:
    def observe(model: str, version: str, outcome: str, seconds: float) -> None:
        count(model, version, outcome, seconds)
        request = current_request()
        if request is not None:
            request.model, request.version = model, version or None

    return observe


def _refusing(method: Method) -> Method:
    @wraps(method)
    async def refusing(data: bytes, call: Call) -> bytes:
        try:
            return await method(data, call)
        except WireError as error:
            raise RequestRefused(error.field, str(error).removeprefix(f"{error.field}: "), error.status) from error

    return refusing
