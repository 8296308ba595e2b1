"""A headless Chromium, driven over its own protocol through two pipes; nothing but the browser is needed.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOAD_S = 30.0
# The descriptors are put aside first: each may be the other's place.
LAUNCHER = (
    "import fcntl, os, sys; "
    "aside = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]; "
    "[os.dup2(one, place) for one, place in zip(aside, (3, 4))]; os.execv(sys.argv[3], sys.argv[3:])"
)


def program() -> str | None:
    """Give the browser of this machine, None where there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """One page of a running browser."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._numbers = itertools.count(1)
        self._read = b""
        self._session: str | None = None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._ask("Page.enable")

    def show(self, width: int, height: int, *, dark: bool = False) -> None:
        """Let the window be so large, in pixels, and prefer a light or a dark page."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def disable_scripts(self) -> None:
        """Run no scripts of pages from now on."""
        self._ask("Emulation.setScriptExecutionDisabled", value=True)

    def open(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self._ask("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Give the value of a script of ours in the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, script: str, limit_s: float = LOAD_S) -> None:
        """Wait until a script is true; pages may go by meanwhile."""
        limit_at_s = time.monotonic() + limit_s
        while not self._is_true(script):
            assert time.monotonic() < limit_at_s, (
                f"{script} was not true within {limit_s:g} s; the page: {self.run('document.body.innerText')}"
            )
            time.sleep(0.05)

    def picture(self) -> bytes:
        """Give a PNG of the whole page."""
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"])

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in a form."""
        root = self._ask("DOM.getDocument")["root"]["nodeId"]
        node = self._ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._ask("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def _is_true(self, script: str) -> bool:
        try:
            return bool(self.run(script))
        except RuntimeError:
            return False  # the page went away while it was asked

    def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": self._session} if self._session else {})
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            data = os.read(self._receive, 1 << 16)
            if not data:
                raise RuntimeError("the browser ended")
            self._read += data
        line, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser with a profile of its own; ends it, and all that it started."""
    found = program()
    assert found is not None, "there is no browser: ask `program` first"
    to_browser, from_browser = os.pipe(), os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ]
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [found, *options, *root, f"--user-data-dir={profile}", "about:blank"]
        process = _started(command, to_browser[0], from_browser[1])
        try:
            yield Browser(to_browser[1], from_browser[0])
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (to_browser[1], from_browser[0]):
                os.close(pipe)


def _started(command: list[str], reads: int, writes: int) -> "subprocess.Popen[bytes]":
    """Start a program that reads descriptor 3 and writes descriptor 4, in a process group of its own."""
    launcher = [sys.executable, "-c", LAUNCHER, str(reads), str(writes), *command]
    try:
        return subprocess.Popen(
            launcher, pass_fds=(reads, writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
    finally:
        os.close(reads)
        os.close(writes)
