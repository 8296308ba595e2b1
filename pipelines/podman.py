"""A pipeline's tasks in containers of this machine: kfp's local runner, with `podman run` in the place of its child processes.

A task is what it is on a cluster: no user of this machine, a root file system that nobody writes, no capability and no way to one, a
/tmp of its own, the CPU and memory that the task states, and the network that the settings name. The artifacts it is handed and hands
on lie below kfp's own root, which is mounted; so are directories that the pipeline is given, for reading. Keys of the store reach it
as variables that podman takes from its own surroundings: a command line is seen by every user of a machine.
"""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Final

from pydantic import Field

from pipelines.argo.runner import EXECUTOR
from pipelines.places import Run
from reelspace.core.errors import PlaceRefused, SettingError, TemporaryError
from reelspace.core.processes import child, stop
from reelspace.core.settings import Settings, read
from reelspace.runs.record import EXIT_CANCELLED

CHECKOUT: Final = Path(__file__).resolve().parents[1]
STORE_VARIABLES: Final = (
    "REELSPACE_S3_ENDPOINT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
# As the first process of its container Python would not hear a signal that it has no function for.
PROGRAM: Final = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit({EXIT_CANCELLED}))\n{EXECUTOR}"
# Of podman itself: it could not make the container, the command cannot be run, there is no such command.
_NOT_STARTED = (125, 126, 127)
_SIZE = r"^[1-9][0-9]*[kmg]$"


class PodmanOptions(Settings):
    """How tasks run in containers."""

    program: str = Field("podman", min_length=1, description="The program, by name or path.")
    network: str = Field("none", min_length=1, description="Network of the containers; one that is internal and holds the store alone.")
    user_id: int = Field(65532, ge=1, description="User and group of every container; never root. A store in a directory must be its.")
    images: dict[str, str] = Field({}, description="Image of a component: what runs in its place. One not listed runs as it is.")
    this_environment: bool = Field(
        False,
        description="Use this Python environment and checkout, mounted for reading, instead of those in the images; an image then needs "
        "no more than the C libraries.",
    )
    mounts: tuple[str, ...] = Field((), description="Further directories of this machine that tasks read, at the same path.")
    devices: tuple[str, ...] = Field((), description="Devices of every container, such as nvidia.com/gpu=all.")
    environment: tuple[str, ...] = Field((), description="Names of variables that are handed on, beside those that open the store.")
    environment_files: tuple[str, ...] = Field((), description="Files with lines NAME=VALUE, for secrets of the steps.")
    s3_endpoint: str | None = Field(None, description="The store's endpoint as containers see it; None: as this process does.")
    scratch_size: str | None = Field(None, pattern=_SIZE, description="Limit of /tmp, which is memory: 512m, 8g; None: the task's memory.")
    shared_memory: str = Field("1g", pattern=_SIZE, description="Size of /dev/shm.")
    grace_s: int = Field(10, ge=0, le=3600, description="Seconds that a task has to save when it is told to end.")


@contextmanager
def containers(run: Run) -> Iterator[None]:
    """Run the tasks of kfp's local runner in containers while the block runs, and leave none behind.

    A run that is told to end (SIGTERM) tells its tasks first. Containers of a run that was killed are told by the kernel; what is left
    of them is removed before the next run in the same work directory.

    Raises:
        SettingError: the place's settings are wrong, or hide the store from the tasks.
        PlaceRefused: podman cannot make the container of a task.
    """
    from kfp.local import subprocess_task_handler as kfp_handlers  # optional dependency of the `pipelines` extra

    podman = Podman(read(PodmanOptions, run.record.place or "{}"), run, _limits(run.record.pipeline))
    podman.check()
    podman.remove_left()
    own = kfp_handlers.SubprocessTaskHandler
    # kfp accepts no runner but its own two. This is where it looks up who runs a task of the first: the one name to put another in.
    kfp_handlers.SubprocessTaskHandler = partial(Task, podman)
    try:
        with podman.told_to_end():
            yield
    finally:
        kfp_handlers.SubprocessTaskHandler = own
        podman.remove_left()


@dataclass(frozen=True, slots=True)
class Podman:
    """The podman of one run.

    Fields:
        limits: options of `podman run` by the task's name.
    """

    options: PodmanOptions
    run: Run
    limits: Mapping[str, Sequence[str]]
    _clients: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    _told: set[int] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def folder(self) -> Path:
        """One file per container that is not over, with its id."""
        return self.run.work.resolve() / "containers"

    def check(self) -> None:
        """Refuse settings with which no step could work."""
        if self.options.network == "none" and self.run.store_url.startswith("s3://"):
            raise SettingError(
                f"network: the store {self.run.store_url} is out of reach without one; name an internal network that holds it"
            )
        for name in self.options.environment:
            if name not in os.environ:
                raise SettingError(f"environment: there is no variable {name}")
        for path in (*self.options.mounts, *self.options.environment_files):
            if not Path(path).is_absolute() or not Path(path).exists():
                raise SettingError(f"mounts, environment_files: expected paths of this machine from its root on, got {path!r}")

    def environment(self) -> dict[str, str]:
        """The variables of podman itself, from which a container gets those that are named to it."""
        endpoint = {"REELSPACE_S3_ENDPOINT": self.options.s3_endpoint} if self.options.s3_endpoint else {}
        return dict(os.environ) | self.run.environment | endpoint

    def arguments(self, task: str, image: str, root: str, variables: Mapping[str, str]) -> list[str]:
        """Give the command line of a task's container, up to the program in it.

        Args:
            root: directory of kfp's artifacts.
            variables: the task's own.
        """
        options = self.options
        size = f",size={options.scratch_size}" if options.scratch_size else ""
        return [
            *(options.program, "run", "--rm", f"--label=reelspace.run={self.run.record.run_id}", f"--label=reelspace.task={task}"),
            *("--log-driver=none", "--entrypoint=", "--http-proxy=false", f"--network={options.network}"),
            *(f"--user={options.user_id}:{options.user_id}", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
            *(
                "--read-only",
                "--read-only-tmpfs=false",
                f"--tmpfs=/tmp:rw,nosuid,nodev,mode=1777{size}",
                f"--shm-size={options.shared_memory}",
            ),
            *self.limits.get(task, ()),
            *(f"--device={device}" for device in options.devices),
            *(f"--env-file={path}" for path in options.environment_files),
            *self._variables(),
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(f"--mount=type=bind,src={place},dst={place},ro=true" for place in self._read()),
            *(f"--mount=type=bind,src={place},dst={place}" for place in self._written(root)),
            options.images.get(image, image),
        ]

    def start(self, arguments: Sequence[str], program: Sequence[str]) -> tuple["subprocess.Popen[bytes]", Path]:
        """Start a container; gives podman, which ends with it, and the file of its id."""
        self.folder.mkdir(parents=True, exist_ok=True)
        cid = self.folder / f"{self.run.record.run_id}-{next(self._numbers)}.cid"
        command = [*arguments[:2], f"--cidfile={cid}", *arguments[2:], *program]
        # podman hands a SIGTERM on, and gets one from the kernel when this process is killed.
        client = child(command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._clients.append(client)
        return client, cid

    def end(self, client: "subprocess.Popen[bytes]", cid: Path) -> None:
        """See to it that a container is over and gone."""
        ended_by_itself = client.poll() is not None and client.returncode >= 0
        if not ended_by_itself:
            self._tell(client)
            with contextlib.suppress(subprocess.TimeoutExpired):
                # Read on: what it says at the end belongs to the log, and a full pipe would hold it up.
                rest, _ = client.communicate(timeout=self.options.grace_s)
                print(rest.decode(errors="replace"), end="")
            stop(client, 0)
            self._remove(cid, 0)
        self._clients.remove(client)
        cid.unlink(missing_ok=True)

    def remove_left(self) -> None:
        """Remove the containers whose ids are still written down: those of a run that was killed."""
        for cid in sorted(self.folder.glob("*.cid")):
            self._remove(cid, self.options.grace_s)
            cid.unlink(missing_ok=True)

    @contextmanager
    def told_to_end(self) -> Iterator[None]:
        """Let SIGTERM end what runs in containers, and then the block."""

        def tell(_number: int, _frame: FrameType | None) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows cleans up
            for client in self._clients:
                self._tell(client)
            raise SystemExit(EXIT_CANCELLED)

        before = signal.signal(signal.SIGTERM, tell)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _tell(self, client: "subprocess.Popen[bytes]") -> None:
        # Once: a second SIGTERM would interrupt what the step does about the first.
        if client.pid not in self._told:
            self._told.add(client.pid)
            client.terminate()

    def _remove(self, cid: Path, grace_s: int) -> None:
        container = cid.read_text().strip() if cid.is_file() else ""
        if not container:  # podman was ended before it made one
            return
        words = [self.options.program, "rm", "--force", "--ignore", f"--time={grace_s}", container]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TemporaryError(f"container {container} cannot be removed: {done.stderr.strip()}")

    def _variables(self) -> list[str]:
        given = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        if self.options.this_environment:
            given |= {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT)}
        here = self.environment()
        named = dict.fromkeys((*self.run.environment, *STORE_VARIABLES, *self.options.environment))
        return [*(f"--env={name}={value}" for name, value in given.items()), *(f"--env={name}" for name in named if name in here)]

    def _read(self) -> list[str]:
        places = {
            *self.options.mounts,
            *(value for value in self.run.parameters.values() if value.startswith("/") and Path(value).is_dir()),
        }
        if self.options.this_environment:
            places |= {str(CHECKOUT), sys.prefix, sys.base_prefix}
        # What lies inside of another one is there already.
        return sorted(place for place in places if not any(str(above) in places for above in Path(place).parents))

    def _written(self, root: str) -> list[str]:
        return [root, *([] if self.run.store_url.startswith("s3://") else [self.run.store_url])]


class Task:
    """One task: what kfp's runner makes for each, in the place of its SubprocessTaskHandler."""

    def __init__(
        self,
        podman: Podman,
        image: str,
        full_command: Sequence[str],
        pipeline_root: str,
        runner: object,
        env_vars: Mapping[str, str] | None = None,
    ) -> None:
        """Take what kfp knows of a task; its runner is of no use here."""
        self._podman = podman
        self._image = image
        self._command = list(full_command)
        self._variables = env_vars or {}

    def run(self) -> Any:
        """Run the task's container and give kfp's word for how it ended; what it prints is printed.

        Raises:
            PlaceRefused: podman cannot make it, or has no such command in it.
        """
        from kfp.local import config, status  # optional dependency of the `pipelines` extra

        root = _owned_root(config.LocalExecutionConfig.instance.pipeline_root, self._podman.options.user_id)
        task = task_of(self._command)
        arguments = self._podman.arguments(task, self._image, root, self._variables)
        client, cid = self._podman.start(arguments, program_of(self._command))
        last = ""
        try:
            for line in client.stdout or ():
                last = line.decode(errors="replace").strip() or last
                print(line.decode(errors="replace"), end="")
            code = client.wait()
        finally:
            self._podman.end(client, cid)
        if code in _NOT_STARTED:
            raise PlaceRefused(f"task {task}, image {arguments[-1]}: {last}")
        return status.Status.FAILURE if code else status.Status.SUCCESS


def program_of(command: Sequence[str]) -> list[str]:
    """Give what a container runs: kfp's executor without the shell around it, which would keep signals; any other program as it is."""
    if list(command[:2]) == ["sh", "-ec"] and "kfp.dsl.executor_main" in command[2]:
        return ["python3", "-c", PROGRAM, *command[3:]]
    return list(command)


def task_of(command: Sequence[str]) -> str:
    """Give the name of a task: kfp names the folder of its outputs so; "" for a program that is told of none."""
    words = list(command)
    if "--executor_input" not in words[:-1]:
        return ""
    return Path(json.loads(words[words.index("--executor_input") + 1])["outputs"]["outputFile"]).parent.name


def _owned_root(root: str, user_id: int) -> str:
    """Make kfp's root the user's who writes there."""
    Path(root).mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(root, user_id, user_id)
    return root


def _limits(pipeline: str) -> dict[str, list[str]]:
    """Give the limits that a pipeline's tasks state, which kfp's local runner does not hand on."""
    from google.protobuf import json_format  # optional dependency of the `pipelines` extra

    spec = json_format.MessageToDict(getattr(import_module(f"pipelines.{pipeline}"), pipeline).pipeline_spec)
    limits = {}
    for name, component in spec["components"].items():
        executor = spec["deploymentSpec"]["executors"].get(component.get("executorLabel"), {})
        asked = executor.get("container", {}).get("resources", {})
        cpus = [f"--cpus={asked['cpuLimit']:g}"] if asked.get("cpuLimit") else []
        memory = [f"--memory={round(asked['memoryLimit'] * 1e9)}b"] if asked.get("memoryLimit") else []  # in units of 10^9 bytes
        limits[name.removeprefix("comp-")] = [*cpus, *memory]
    return limits
