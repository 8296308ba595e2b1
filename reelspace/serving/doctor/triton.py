"""Whether a running Triton answers, and each of its models, with a real request."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import httpx

from reelspace.serving.doctor.finding import Finding, fail, ok
from reelspace.serving.probe import probe_request
from reelspace.serving.signatures import signature_of_config
from reelspace.serving.watch.control import error_text
from reelspace.serving.wire import HEAD_LENGTH, Answer, WireError, decode_answer

TIMEOUT_S: Final = 10.0
REPAIR: Final = "python -m reelspace.serving.watch --triton URL --models {} repairs a model whose process is gone"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model that answers says of its vectors; None where it gives none."""

    space_id: str | None
    dimension: int | None


class TritonPatient:
    """One Triton server to be looked at; use it in a `with` statement."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def check_server(self) -> Finding:
        """Ask whether it is there and calls itself ready."""
        check = "triton server"
        try:
            told, ready = self._client.get("/v2"), self._client.get("/v2/health/ready")
        except httpx.TransportError as error:
            return fail(check, f"{self.url} cannot be reached: {error or type(error).__name__}", "start Triton, or name its HTTP port")
        if told.status_code != HTTPStatus.OK or ready.status_code != HTTPStatus.OK:
            return fail(check, f"{self.url} is not ready: HTTP {ready.status_code}", "its log says which model does not load")
        return ok(check, f"{self.url} is ready, version {told.json().get('version', 'unknown')}")

    def newest(self) -> dict[str, str]:
        """Give the newest version that Triton calls ready, by model."""
        ready = [one for one in self._client.post("/v2/repository/index").json() if one.get("state") == "READY"]
        return {one["name"]: str(one["version"]) for one in sorted(ready, key=lambda one: int(one["version"]))}

    def check_model(self, model: str, version: str) -> tuple[Finding, ModelFacts | None]:
        """Make a version of a model answer a real request, and hear what it says of its vectors."""
        check, where = f"model {model}", f"/v2/models/{model}/versions/{version}"
        try:
            config = self._client.get(f"{where}/config")
            if config.status_code != HTTPStatus.OK:
                seen = f"version {version} is not loaded: {error_text(config)}"
                return fail(check, seen, "load it, or promote again; Triton's log says why it was not"), None
            message = probe_request(signature_of_config(config.json()))
            response = self._client.post(f"{where}/infer", content=message.body, headers=message.headers)
        except httpx.TransportError as error:
            return fail(check, f"version {version} does not answer: {error or type(error).__name__}", REPAIR.format(model)), None
        if response.status_code == HTTPStatus.BAD_REQUEST:
            return ok(check, f"version {version} answers, and refuses the probe"), None
        if response.status_code != HTTPStatus.OK:
            return fail(check, f"version {version} fails: {error_text(response)}", REPAIR.format(model)), None
        try:
            facts = _facts(decode_answer(response.content, response.headers.get(HEAD_LENGTH)))
        except (WireError, KeyError, ValueError) as error:
            return fail(check, f"version {version} answers what is no answer: {error}", "look at the model's code"), None
        return ok(check, f"version {version} answers in {response.elapsed.total_seconds() * 1e3:.1f} ms"), facts

    def check_models(self, models: Sequence[tuple[str, str]]) -> tuple[list[Finding], dict[str, ModelFacts]]:
        """Look at versions of models; gives what was found, and the facts of those that gave an answer."""
        findings, facts = [], {}
        for model, version in models:
            finding, fact = self.check_model(model, version)
            findings.append(finding)
            if fact is not None:
                facts[model] = fact
        return findings, facts


def _facts(answer: Answer) -> ModelFacts:
    space, vectors = answer.outputs.get("SPACE_ID"), answer.outputs.get("EMBEDDING")
    space_id = None if space is None else space.reshape(-1)[0].decode(errors="replace")
    return ModelFacts(space_id, None if vectors is None else int(vectors.shape[-1]))
