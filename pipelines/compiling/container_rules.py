"""Rules about the containers of a pipeline: their images, what they ask of a node, what they install."""

import re
from collections import defaultdict
from collections.abc import Iterator

from pipelines.compiling.compiled import Compiled, containers, strings
from pipelines.compiling.findings import Finding

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_TAG = re.compile(r":([\w.-]+)$")
_ASKED = {
    "CPU request": ("resourceCpuRequest", "cpuRequest"),
    "CPU limit": ("resourceCpuLimit", "cpuLimit"),
    "memory request": ("resourceMemoryRequest", "memoryRequest"),
    "memory limit": ("resourceMemoryLimit", "memoryLimit"),
}
_INSTALL = re.compile(
    r"\bpip3?['\", ]+(?:install|download)\b|\b(?:conda|mamba|micromamba|poetry|uv|npm|apt|apt-get|dnf|yum)['\", ]+(?:install|add|sync)\b"
    r"|\bapk['\", ]+add\b|\bensurepip\b"
)


def latest_image(compiled: Compiled) -> Iterator[Finding]:
    """No image is `:latest`, without a tag, or chosen at run time: two runs of one file would run different code."""
    for task, container in containers(compiled):
        image = container["image"]
        if "{{" in image:
            yield Finding("latest-image", task.place, "its image is chosen at run time; name a constant of components/images.py")
        elif _moves(image):
            yield Finding("latest-image", task.place, f"image {image} changes under its name; give a version, and images.lock its digest")


def tag_only_image(compiled: Compiled) -> Iterator[Finding]:
    """Every image is named by digest; one that images.lock lists while no digest is known is a warning."""
    users = defaultdict(list)
    for task, container in containers(compiled):
        image = container["image"]
        if "{{" not in image and not _moves(image) and not _DIGEST.search(image):
            users[image].append(task.place)
    for image, places in sorted(users.items()):
        known = image in compiled.undigested
        what = "has no digest in images.lock yet" if known else "is named by a tag and images.lock does not list it"
        message = f"image {image} {what}; build and push it, then write the digest that the registry gave there"
        yield Finding("tag-only-image", ", ".join(places), message, warning=known)


def missing_resources(compiled: Compiled) -> Iterator[Finding]:
    """Every container has requests and limits of CPU and memory: without, it lands on a full node or takes all of one."""
    for task, container in containers(compiled):
        resources = container.get("resources", {})
        missing = [what for what, keys in _ASKED.items() if not any(resources.get(key) for key in keys)]
        if missing:
            yield Finding("missing-resources", task.place, f"has no {', '.join(missing)}; wrap the task in `on(task, Size...)`")


def runtime_install(compiled: Compiled) -> Iterator[Finding]:
    """No container installs packages when it starts: that needs a network, takes a minute, and gives another version each week."""
    for task, container in containers(compiled):
        texts = strings([container.get("command", []), container.get("args", []), " ".join(strings(container.get("args", [])))])
        found = next((match[0] for text in texts if (match := _INSTALL.search(text))), None)
        if found:
            message = f"runs `{' '.join(found.split())}` when it starts; put the package into the image, keep install_kfp_package=False"
            yield Finding("runtime-install", task.place, message)


def _moves(image: str) -> bool:
    tag = _TAG.search(image.rpartition("/")[2])
    return not _DIGEST.search(image) and (tag is None or tag[1] == "latest")
