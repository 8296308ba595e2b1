"""From a pipeline's module to what kfp makes of it, with other defaults and pinned images."""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.compiling.compiled import IR, Compiled
from pipelines.compiling.definitions import load_pipeline
from pipelines.compiling.images_lock import ImagesLock, pinned
from pipelines.compiling.parameters import defaults_for


@dataclass(frozen=True, slots=True)
class Choices:
    """What a compiled file depends on beside the source of its pipeline."""

    images: ImagesLock
    profile: str = "cpu"
    defaults: Mapping[str, str] = field(default_factory=dict)


def compile_pipeline(name: str, choices: Choices) -> Compiled:
    """Compile `pipelines/<name>.py`.

    Raises:
        SettingError: a default is given for no parameter of it, or is of a wrong type.
    """
    component = load_pipeline(name, choices.profile)
    defaults = defaults_for(name, parameters_of(component), choices.defaults)
    return compile_component(name, component, choices.images, defaults)


def compile_component(name: str, component: Any, images: ImagesLock, defaults: Mapping[str, Any] | None = None) -> Compiled:
    """Compile a kfp pipeline that is built already."""
    text = _compiled_text(component, dict(defaults or {}))
    import yaml  # type: ignore[import-untyped]  # optional dependency of the `pipelines` extra

    documents = list(yaml.load_all(text, yaml.CSafeLoader))
    for parameter in defaults or {}:
        # kfp leaves a parameter that gets its default here marked as required.
        documents[0]["root"]["inputDefinitions"]["parameters"][parameter]["isOptional"] = True
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    platform: IR = documents[1] if len(documents) > 1 else {}
    return Compiled(name, pinned(documents[0], images), platform, comments, images.undigested())


def parameters_of(component: Any) -> dict[str, IR]:
    """Give the definition of every parameter of a kfp pipeline."""
    from google.protobuf import json_format  # optional dependency of the `pipelines` extra

    root = json_format.MessageToDict(component.pipeline_spec)["root"]
    parameters: dict[str, IR] = root.get("inputDefinitions", {}).get("parameters", {})
    return parameters


def _compiled_text(component: Any, defaults: dict[str, Any]) -> str:
    from kfp import compiler  # optional dependency of the `pipelines` extra

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # kfp warns of its own deprecated calls.
        warnings.filterwarnings("ignore", module=r"kfp\..*", category=DeprecationWarning)
        target = Path(scratch) / "pipeline.yaml"
        compiler.Compiler().compile(component, str(target), pipeline_parameters=defaults)
        return target.read_text()
