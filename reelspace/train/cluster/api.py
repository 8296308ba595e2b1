"""The part of the Kubernetes API that we use, over plain HTTPS."""

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from reelspace.core.errors import PlaceRefused, ServerUnavailable
from reelspace.train.cluster.settings import ApiSettings, ClusterSettings

Object = dict[str, Any]

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_S = 30.0
_RETRY_S = 0.5
_MAX_RETRY_S = 10.0
# The server ends a watch by itself after this time, so that a connection that died unnoticed does not hold us.
WATCH_S = 240
_UNAUTHORIZED, _FORBIDDEN, _MISSING, _CONFLICT, _GONE, _TOO_MANY = 401, 403, 404, 409, 410, 429


@dataclass(frozen=True, slots=True)
class ApiPlace:
    """Where the API is, and who we are there."""

    url: str
    namespace: str
    token_file: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def of(cls, cluster: ClusterSettings, variables: Mapping[str, str], account: Path = _ACCOUNT) -> "ApiPlace":
        """Give the API that the settings name, or that of the cluster this process runs in.

        Raises:
            PlaceRefused: this process runs in no pod with a service account, and the settings name no API, or no namespace.
        """
        return cls.at(cluster.api, cluster.namespace, variables, account)

    @classmethod
    def at(cls, api: ApiSettings | None, namespace: str | None, variables: Mapping[str, str], account: Path = _ACCOUNT) -> "ApiPlace":
        """Give the API of these settings, or that of the cluster this process runs in; see `of`."""
        namespace_file = account / "namespace"
        namespace = namespace or (namespace_file.read_text().strip() if namespace_file.is_file() else "")
        if not namespace:
            raise PlaceRefused(f"no namespace: expected `namespace`, for this is no pod with a service account ({namespace_file})")
        if api is not None:
            return cls(api.url.rstrip("/"), namespace, api.token_file, api.ca_file)
        host, port = variables.get("KUBERNETES_SERVICE_HOST"), variables.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (account / "token").is_file():
            raise PlaceRefused("no Kubernetes API: expected to run in a pod with a service account, or `api` in the settings")
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", namespace, account / "token", account / "ca.crt")


class KubernetesApi:
    """A connection to the API server; safe to use from several threads. Use it in a `with` block.

    Requests that may be repeated are, for `patience_s` seconds, while the server does not answer or answers that it cannot now.
    """

    def __init__(self, place: ApiPlace, patience_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self.place = place
        self._patience_s = patience_s
        self._sleep = sleep
        trust: ssl.SSLContext | bool = True
        if place.ca_file is not None:
            trust = ssl.create_default_context(cafile=str(place.ca_file))
        self._client = httpx.Client(base_url=place.url, verify=trust, timeout=_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> "KubernetesApi":
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def get(self, path: str, **query: str) -> Object | None:
        """Read an object, or a list of them; None if it is absent."""
        return self._asked("GET", path, query)

    def create(self, path: str, value: Mapping[str, Any]) -> Object | None:
        """Create an object; None if one of its name exists, which may be ours by a request whose answer was lost."""
        return self._asked("POST", path, {}, value, absent=_CONFLICT)

    def patch(self, path: str, value: Mapping[str, Any]) -> Object | None:
        """Change an object (RFC 7386: null removes); None if it is absent."""
        return self._asked("PATCH", path, {}, value)

    def delete(self, path: str) -> None:
        """Remove an object once all that belongs to it has gone; an absent one is no error."""
        self._asked("DELETE", path, {}, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"})

    def watch(self, path: str, version: str, **query: str) -> Iterator[Object]:
        """Give events {type, object} after a version, until the server or the network ends it; get the object and watch again then.

        A server that no longer knows the version ends it too, with the status 410 or after an event of the type ERROR.

        Raises:
            PlaceRefused: it does not let us watch.
        """
        asked = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S), **query}
        try:
            with self._stream(path, asked, WATCH_S + _TIMEOUT_S) as response:
                if not response.is_success:
                    if not _is_passing(response):
                        raise _refused(response)
                    return
                for line in response.iter_lines():
                    yield json.loads(line)
        except (httpx.HTTPError, json.JSONDecodeError):
            # Dropped in the midst of an event, perhaps: whoever watches looks again.
            return

    def lines(self, path: str, **query: str) -> Iterator[str]:
        """Give the lines of a log as they come, until it ends or the connection drops.

        Raises:
            PlaceRefused: the server does not let us read it.
        """
        try:
            # A training may be quiet for long.
            with self._stream(path, query, None) as response:
                if response.is_success:
                    yield from response.iter_lines()
                elif response.status_code == _FORBIDDEN:
                    raise _refused(response)
        except httpx.HTTPError:
            return

    @property
    def is_closed(self) -> bool:
        """Tell whether the block is over."""
        return self._client.is_closed

    @contextmanager
    def _stream(self, path: str, query: Mapping[str, str], read_s: float | None) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(_TIMEOUT_S, read=read_s)
        with self._client.stream("GET", path, params=dict(query), headers=self._headers(), timeout=timeout) as response:
            if not response.is_success:
                response.read()
            yield response

    def _asked(
        self, method: str, path: str, query: Mapping[str, str], value: Mapping[str, Any] | None = None, absent: int = _MISSING
    ) -> Object | None:
        deadline_s, retry_s = time.monotonic() + self._patience_s, _RETRY_S
        while True:
            response, problem = self._tried(method, path, query, value)
            if response is not None and response.is_success:
                return dict(response.json())
            if response is not None and response.status_code == absent:
                return None
            is_over = time.monotonic() + retry_s > deadline_s
            if response is not None and (not _is_passing(response) or (is_over and response.status_code == _UNAUTHORIZED)):
                raise _refused(response)
            if is_over:
                raise ServerUnavailable(f"the Kubernetes API at {self.place.url} has been away for {self._patience_s:.0f} s: {problem}")
            self._sleep(retry_s)
            retry_s = min(2 * retry_s, _MAX_RETRY_S)

    def _tried(
        self, method: str, path: str, query: Mapping[str, str], value: Mapping[str, Any] | None
    ) -> tuple[httpx.Response | None, str]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = None if value is None else json.dumps(value)
        try:
            response = self._client.request(
                method, path, params=dict(query), content=content, headers={**self._headers(), "Content-Type": kind}
            )
        except httpx.HTTPError as error:
            return None, str(error) or type(error).__name__
        return response, f"it answered {response.status_code}: {_message(response)}"

    def _headers(self) -> dict[str, str]:
        # A service account's token is replaced while we run.
        token = self.place.token_file.read_text().strip() if self.place.token_file else ""
        return {"Authorization": f"Bearer {token}"} if token else {}


def _refused(response: httpx.Response) -> PlaceRefused:
    asked = f"{response.request.method} {response.request.url.path}"
    return PlaceRefused(f"the Kubernetes API refused {asked} ({response.status_code}): {_message(response)}")


def _is_passing(response: httpx.Response) -> bool:
    """Tell whether the same request may succeed in a moment: an expired token is replaced, a conflict ends, a version is read anew."""
    return response.status_code >= 500 or response.status_code in (_TOO_MANY, _UNAUTHORIZED, _CONFLICT, _GONE)


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
