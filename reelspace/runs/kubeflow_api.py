"""The part of the API of Kubeflow Pipelines that a run needs once it was handed over, over plain HTTP(S).

Source: the API server of Kubeflow Pipelines 2.17, /apis/v2beta1/runs; logs of pods are older and still under /apis/v1alpha1.
"""

import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from reelspace.core.errors import PlaceRefused, ServerUnavailable

Object = dict[str, Any]

_TIMEOUT_S = 30.0
_RETRY_S = 0.5
_MAX_RETRY_S = 10.0
_MISSING, _TOO_MANY = 404, 429


class KubeflowApi:
    """A connection to an API server of Kubeflow Pipelines. Use it in a `with` block.

    What only reads is asked again for `patience_s` seconds while the server does not answer or answers that it cannot now; what changes
    a run is asked once.
    """

    def __init__(self, remote: Mapping[str, str], patience_s: float) -> None:
        """Take `url` of a run's `remote`, and `token_file` and `ca_file` where it names them.

        Raises:
            PlaceRefused: a file cannot be read.
        """
        self._url = remote["url"].rstrip("/")
        self._token_file = Path(remote["token_file"]) if remote.get("token_file") else None
        self._patience_s = patience_s
        try:
            trust: ssl.SSLContext | bool = ssl.create_default_context(cafile=remote["ca_file"]) if remote.get("ca_file") else True
        except OSError as error:
            raise PlaceRefused(f"ca_file {remote['ca_file']}: {error}") from error
        self._client = httpx.Client(base_url=self._url, verify=trust, timeout=_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> "KubeflowApi":
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def run(self, run_id: str) -> Object | None:
        """Read a run with its tasks; None if there is none."""
        response = self._read(f"/apis/v2beta1/runs/{run_id}")
        if response.status_code == _MISSING:
            return None
        return dict(_checked(response).json())

    def terminate(self, run_id: str) -> None:
        """Ask for the end of a run."""
        self._change(run_id, "terminate")

    def retry(self, run_id: str) -> None:
        """Start a failed run again: what failed or was ended runs once more, what finished stays."""
        self._change(run_id, "retry")

    def pod_log(self, run_id: str, pod_name: str) -> str:
        """Give what a pod of a run has written so far; "" where it has not begun, or is gone and the server keeps no logs."""
        response = self._read(f"/apis/v1alpha1/runs/{run_id}/nodes/{pod_name}/log", server_errors_pass=False)
        return response.text if response.is_success else ""

    def _change(self, run_id: str, verb: str) -> None:
        try:
            _checked(self._client.post(f"/apis/v2beta1/runs/{run_id}:{verb}", headers=self._headers()))
        except httpx.HTTPError as error:
            raise self._away(str(error) or type(error).__name__) from error

    def _read(self, path: str, *, server_errors_pass: bool = True) -> httpx.Response:
        deadline_s, retry_s = time.monotonic() + self._patience_s, _RETRY_S
        while True:
            try:
                response = self._client.get(path, headers=self._headers())
            except httpx.HTTPError as error:
                problem = str(error) or type(error).__name__
            else:
                if not (server_errors_pass and response.status_code >= 500) and response.status_code != _TOO_MANY:
                    return response
                problem = f"it answered {response.status_code}: {_message(response)}"
            if time.monotonic() + retry_s > deadline_s:
                raise self._away(problem)
            time.sleep(retry_s)
            retry_s = min(2 * retry_s, _MAX_RETRY_S)

    def _away(self, problem: str) -> ServerUnavailable:
        return ServerUnavailable(f"Kubeflow Pipelines at {self._url} does not answer: {problem}")

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        # A service account's token is replaced while we run.
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError as error:
            raise PlaceRefused(f"token_file {self._token_file}: {error}") from error


def _checked(response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        asked = f"{response.request.method} {response.request.url.path}"
        raise PlaceRefused(f"Kubeflow Pipelines refused {asked} ({response.status_code}): {_message(response)}")
    return response


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
