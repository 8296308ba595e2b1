"""Every rule of the lint finds a pipeline that breaks it, by name and place, and lets its repaired twin pass."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from pipelines.compiling.build import Choices, compile_component, compile_pipeline
from pipelines.compiling.compiled import Compiled
from pipelines.compiling.definitions import pipeline_names
from pipelines.compiling.images_lock import ImagesLock, read_images_lock
from pipelines.compiling.lint import RULES, lint
from pipelines.resources import Size, on

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "reelspace/python-train:0.1.0"
DIGEST = "sha256:" + "0a" * 32
LOCK = ImagesLock(images={IMAGE: DIGEST, "reelspace/python-search:0.1.0": "unknown"})
Builder = Callable[[], Any]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def work(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def make(made: Output[Artifact]) -> None:
    open(made.path, "w").close()


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def use(given: Input[Artifact], text: str = "") -> None:
    print(given.path, text)


@dsl.component(base_image=IMAGE, install_kfp_package=False, packages_to_install=["rich"])
def installing(text: str) -> str:
    return text


@dsl.component(base_image="reelspace/python-train:latest", install_kfp_package=False)
def latest(text: str) -> str:
    return text


@dsl.component(base_image="localhost:5000/python", install_kfp_package=False)
def untagged(text: str) -> str:
    return text


@dsl.component(base_image="busybox:1.36", install_kfp_package=False)
def foreign(text: str) -> str:
    return text


@dsl.pipeline(name="inner")
def inner_without_parameter(given: Input[Artifact]) -> None:
    on(use(given=given), Size.SMALL)


@dsl.pipeline(name="inner")
def inner_with_parameter(given: Input[Artifact], text: str) -> None:
    on(use(given=given, text=text), Size.SMALL)


def small(task: Any) -> Any:
    return on(task, Size.SMALL)


def sized_by_a_parameter_in_a_group() -> Any:
    @dsl.pipeline(name="p")
    def pipeline(memory: str, flag: str) -> None:
        with dsl.If(flag == "yes"):
            small(work(text="a")).set_memory_limit(memory)

    return pipeline


def sized_by_a_parameter_outside() -> Any:
    @dsl.pipeline(name="p")
    def pipeline(memory: str, flag: str) -> None:
        small(work(text="a")).set_memory_limit(memory)
        with dsl.If(flag == "yes"):
            small(work(text="b"))

    return pipeline


def retries_in_a_loop() -> Any:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        with dsl.ParallelFor(["a", "b"]) as item, dsl.If(item == "a"):
            small(work(text=item)).set_retry(2)

    return pipeline


def retries_beside_a_loop() -> Any:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        small(work(text="a")).set_retry(2)
        with dsl.ParallelFor(["a", "b"]) as item:
            small(work(text=item))

    return pipeline


def loops_in_an_exit_handler() -> Any:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        with dsl.ExitHandler(small(work(text="end"))), dsl.ParallelFor(["a", "b"]) as item:
            small(work(text=item))

    return pipeline


def loops_beside_an_exit_handler() -> Any:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        with dsl.ExitHandler(small(work(text="end"))):
            small(work(text="a"))
        with dsl.ParallelFor(["a", "b"]) as item:
            small(work(text=item))

    return pipeline


def calls_with_an_artifact_alone() -> Any:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        inner_without_parameter(given=small(make()).outputs["made"])

    return pipeline


def handles_the_exit_of_an_artifact_alone() -> Any:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        made = small(make())
        with dsl.ExitHandler(small(work(text="end"))):
            small(use(given=made.outputs["made"]))

    return pipeline


def loops_with_an_artifact_alone() -> Any:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        made = small(make())
        with dsl.ParallelFor(["a", "b"]) as item:
            small(use(given=made.outputs["made"], text=item))

    return pipeline


def calls_with_an_artifact_and_a_parameter() -> Any:
    @dsl.pipeline(name="p")
    def pipeline() -> None:
        inner_with_parameter(given=small(make()).outputs["made"], text="a")

    return pipeline


def one_task(component: Any, change: Callable[[Any], Any] = small) -> Builder:
    def build() -> Any:
        @dsl.pipeline(name="p")
        def pipeline() -> None:
            change(component(text="a"))

        return pipeline

    return build


def with_the_image_of_an_argument() -> Any:
    @dsl.pipeline(name="p")
    def pipeline(image: str = IMAGE) -> None:
        small(work(text="a")).set_container_image(image)

    return pipeline


def with_a_password_as_parameter() -> Any:
    @dsl.pipeline(name="p")
    def pipeline(store_password: str) -> None:
        small(work(text="a"))

    return pipeline


def with_the_name_of_a_secret_as_parameter() -> Any:
    @dsl.pipeline(name="p")
    def pipeline(secret_name: str, password_file: str, pad_token: str = "[PAD]") -> None:
        small(work(text="a"))

    return pipeline


BAD: list[tuple[str, Builder, str]] = [
    ("undeclared-channel", sized_by_a_parameter_in_a_group, "p/condition-1/work"),
    ("retry-in-loop", retries_in_a_loop, "p/for-loop-2/condition-3/work"),
    ("loop-in-exit-handler", loops_in_an_exit_handler, "p/exit-handler-1/for-loop-3"),
    ("artifact-only-call", calls_with_an_artifact_alone, "p/inner"),
    ("artifact-only-call", handles_the_exit_of_an_artifact_alone, "p/exit-handler-1"),
    ("latest-image", one_task(latest), "p/latest"),
    ("latest-image", one_task(untagged), "p/untagged"),
    ("latest-image", with_the_image_of_an_argument, "p/work"),
    ("tag-only-image", one_task(foreign), "p/foreign"),
    ("missing-resources", one_task(work, lambda task: task), "p/work"),
    ("missing-resources", one_task(work, lambda task: task.set_cpu_limit("1").set_memory_limit("1Gi")), "p/work"),
    ("runtime-install", one_task(installing), "p/installing"),
    ("secret-in-arguments", with_a_password_as_parameter, "p"),
    ("secret-in-arguments", one_task(work, lambda task: small(task).set_env_variable("AWS_SECRET_ACCESS_KEY", "abc")), "p/work"),
]
GOOD: list[Builder] = [
    sized_by_a_parameter_outside,
    retries_beside_a_loop,
    loops_beside_an_exit_handler,
    calls_with_an_artifact_and_a_parameter,
    loops_with_an_artifact_alone,
    one_task(work),
    one_task(work, lambda task: small(task).set_env_variable("REELSPACE_STORE", "s3://bucket/prefix")),
    with_the_name_of_a_secret_as_parameter,
]


@pytest.mark.parametrize(("rule", "build", "place"), BAD, ids=[f"{rule}-{build.__name__}" for rule, build, _ in BAD])
def test_a_bad_pipeline_is_found_by_its_rule_alone_and_by_place(rule: str, build: Builder, place: str):
    findings = lint(compile_component("p", build(), LOCK))
    assert {(finding.rule, finding.place, finding.warning) for finding in findings} == {(rule, place, False)}
    assert all(str(finding).startswith(f"{rule}: {place}: ") for finding in findings)


@pytest.mark.parametrize("build", GOOD, ids=[build.__name__ for build in GOOD])
def test_the_repaired_twin_of_a_bad_pipeline_passes(build: Builder):
    assert lint(compile_component("p", build(), LOCK)) == []


def test_every_rule_has_a_pipeline_that_breaks_it():
    assert {rule for rule, _, _ in BAD} == set(RULES)


def test_an_image_whose_digest_is_not_known_yet_is_one_warning_that_names_its_tasks():
    lock = ImagesLock(images={IMAGE: "unknown"}, registry="registry.example/video")
    (finding,) = lint(compile_component("p", retries_beside_a_loop(), lock))
    assert finding.warning
    assert (finding.rule, finding.place) == ("tag-only-image", "p/for-loop-2/work-2, p/work")
    assert f"registry.example/video/{IMAGE}" in finding.message


@pytest.fixture(scope="module")
def one() -> Compiled:
    return compile_component("p", one_task(work)(), LOCK)


def argued(one: Compiled, constant: object) -> Compiled:
    spec = copy.deepcopy(one.spec)
    spec["root"]["dag"]["tasks"]["work"]["inputs"]["parameters"]["text"]["runtimeValue"]["constant"] = constant
    return Compiled("p", spec)


@pytest.mark.parametrize(
    "constant",
    [
        "AKIA" + "A1B2" * 4,
        "s3://minio:hunter2@store/bucket",
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "ghp_" + "a" * 36,
        '{"store": {"secretKey": "abc"}}',
        {"api_key": "abc"},
    ],
)
def test_a_secret_inside_an_argument_is_found_and_not_repeated(one: Compiled, constant: object):
    (finding,) = lint(argued(one, constant))
    assert (finding.rule, finding.place) == ("secret-in-arguments", "p/work")
    assert "hunter2" not in str(finding)
    assert "AKIA" not in str(finding)


@pytest.mark.parametrize(
    "constant", ["s3://bucket/prefix", '{"pad_token": "[PAD]", "max_tokens": 8}', '{"token": ""}', 5.0, ["key"], "{not json"]
)
def test_an_ordinary_argument_is_no_secret(one: Compiled, constant: object):
    assert lint(argued(one, constant)) == []


@pytest.mark.parametrize("option", ["--password", "--api-key=abc"])
def test_a_secret_on_a_command_line_is_found(one: Compiled, option: str):
    spec = copy.deepcopy(one.spec)
    spec["deploymentSpec"]["executors"]["exec-work"]["container"]["args"] += [option, "{{$.inputs.parameters['text']}}"]
    assert [finding.rule for finding in lint(Compiled("p", spec))] == ["secret-in-arguments"]


def without_input(spec: dict[str, Any]) -> None:
    del spec["root"]["dag"]["tasks"]["work"]["inputs"]
    del spec["components"]["comp-work"]["inputDefinitions"]
    spec["deploymentSpec"]["executors"]["exec-work"]["container"]["args"].append("{{$.inputs.parameters['text']}}")


def with_unknown_producer(spec: dict[str, Any]) -> None:
    spec["root"]["dag"]["tasks"]["work"]["dependentTasks"] = ["gone"]


def with_condition_on_nothing(spec: dict[str, Any]) -> None:
    spec["root"]["dag"]["tasks"]["work"]["triggerPolicy"] = {"condition": "inputs.parameter_values['pipelinechannel--x'] == 'a'"}


@pytest.mark.parametrize("damage", [without_input, with_unknown_producer, with_condition_on_nothing])
def test_every_kind_of_reference_must_lead_somewhere(one: Compiled, damage: Callable[[dict[str, Any]], None]):
    spec = copy.deepcopy(one.spec)
    damage(spec)
    assert [(finding.rule, finding.place) for finding in lint(Compiled("p", spec))] == [("undeclared-channel", "p/work")]


@pytest.mark.parametrize("name", pipeline_names())
def test_our_pipelines_are_clean_once_every_image_has_a_digest(name: str):
    pinned = ImagesLock(images=dict.fromkeys(read_images_lock(ROOT / "images.lock").images, DIGEST))
    for profile in ("cpu", "gpu8"):
        assert lint(compile_pipeline(name, Choices(pinned, profile))) == []
