"""The rule about secrets: what stands in a compiled file or in the arguments of a run, everyone who may see the run can read."""

import json
import re
from collections.abc import Iterator
from typing import Any

from pipelines.compiling.compiled import IR, Compiled, containers, strings, tasks
from pipelines.compiling.findings import Finding

_ADVICE = "put it into a Kubernetes Secret and give it with kfp.kubernetes.use_secret_as_env or use_secret_as_volume"
# The last words of a name: `token` is a secret and `pad_token` none, `password` is one and `password_file` none.
_NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|secrets|credential|credentials|apikey"
    r"|(?:api|access|private|secret|account|encryption)_key|(?:api|access|auth|bearer|refresh|session|github|hf)_token)$|^token$"
)
_VALUES = {
    "an access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.)"),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@{$]+:[^\s/@{$]+@"),
}


def secret_in_arguments(compiled: Compiled) -> Iterator[Finding]:
    """No secret is a parameter of the pipeline, a constant argument, an option or a plain environment variable of a container."""
    for place, what in dict.fromkeys(_places(compiled)):
        yield Finding("secret-in-arguments", place, f"{what}; {_ADVICE}")


def _places(compiled: Compiled) -> Iterator[tuple[str, str]]:
    name = compiled.spec["pipelineInfo"]["name"]
    for parameter, definition in sorted(_parameters(compiled.spec["root"]).items()):
        if _is_secret_name(parameter):
            yield name, f"the parameter {parameter!r} is stored with every run in the clear"
        yield from ((name, f"the default of {parameter!r} holds {what}") for what in _secrets_in(definition.get("defaultValue")))
    for task in tasks(compiled):
        for argument, given in sorted(task.entry.get("inputs", {}).get("parameters", {}).items()):
            constant = given.get("runtimeValue", {}).get("constant")
            if _is_secret_name(argument):
                yield task.place, f"the argument {argument!r} is stored with every run in the clear"
            yield from ((task.place, f"the argument {argument!r} holds {what}") for what in _secrets_in(constant))
    for task, container in containers(compiled):
        yield from ((task.place, what) for what in _in_container(container))


def _in_container(container: IR) -> Iterator[str]:
    for variable in container.get("env", []):
        if _is_secret_name(variable["name"]) and variable.get("value"):
            yield f"the environment variable {variable['name']} is written into the file"
        yield from (f"the environment variable {variable['name']} holds {what}" for what in _secrets_in(variable.get("value")))
    for text in strings([container.get("command", []), container.get("args", [])]):
        option = re.match(r"--?([\w-]+)", text)
        if option and _is_secret_name(option[1]):
            yield f"the option --{option[1]} shows its value in the list of processes"
        yield from (f"its command holds {what}" for what, pattern in _VALUES.items() if pattern.search(text))


def _secrets_in(value: Any) -> Iterator[str]:
    for text in strings(value):
        yield from (what for what, pattern in _VALUES.items() if pattern.search(text))
    for key in _keys_with_text(_opened(value)):
        if _is_secret_name(key):
            yield f"a value for {key!r}"


def _opened(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _keys_with_text(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if isinstance(value, str) and value:
                yield key
            else:
                yield from _keys_with_text(value)
    elif isinstance(document, list):
        for one in document:
            yield from _keys_with_text(one)


def _is_secret_name(name: str) -> bool:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").replace(".", "_").lower().strip("_")
    return _NAME.search(words) is not None


def _parameters(component: IR) -> IR:
    parameters: IR = component.get("inputDefinitions", {}).get("parameters", {})
    return parameters
