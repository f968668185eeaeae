"""A real browser without a window, driven over the DevTools protocol through two pipes: no port, no further library."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--autoplay-policy=no-user-gesture-required"),
    "--remote-debugging-pipe",
)
KEYS = {" ": ("Space", 32), "Home": ("Home", 36), "End": ("End", 35), "Tab": ("Tab", 9), "Enter": ("Enter", 13)}
KEYS |= {"ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39)}
PATIENCE = 60.0
"""Seconds until a browser that does not answer is given up."""


class Browser:
    """One page of a browser, and what it said and asked for since it was opened."""

    def __init__(self, process: "subprocess.Popen[bytes]", read: int, write: int) -> None:
        self._process, self._read, self._write = process, read, write
        self._held, self._number, self._session = b"", 0, ""
        self.said: list[str] = []
        """What the page complained of: errors of scripts, of the policy, of what could not be loaded."""
        self.asked: list[str] = []
        """The addresses that the page asked for, beside its own and data."""

    def open(self, page: Path, width: int = 1200, height: int = 900, dark: bool = False, before: str = "") -> None:
        """Opens a file in a new tab of this size; `before` is a script that runs ahead of the page's own."""
        target = self.call("Target.createTarget", {"url": "about:blank"}, own=False)["targetId"]
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True}, own=False)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", size)
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [colours]})
        self.call("Page.addScriptToEvaluateOnNewDocument", {"source": before})
        self.said.clear()
        self.asked.clear()
        self.call("Page.navigate", {"url": page.absolute().as_uri()})
        self.until("document.readyState === 'complete' && typeof show === 'function'")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        wanted = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", wanted)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Waits until an expression is true in the page."""
        end = time.monotonic() + PATIENCE
        while not self.evaluate(script):
            assert time.monotonic() < end, f"never true: {script}; {self.said}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Presses a key and lets it go."""
        code, number = KEYS.get(key, (key, ord(key.upper()[0])))
        text = {"text": {"Enter": "\r"}.get(key, key)} if len(key) == 1 or key == "Enter" else {}
        same = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **same, **text})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **same})

    def click(self, selector: str) -> None:
        """Clicks the middle of an element with the mouse."""
        element = f"document.querySelector({json.dumps(selector)})"
        box = f"(({element}).scrollIntoView({{block: 'center'}}), {element}.getBoundingClientRect())"
        x, y = self.evaluate(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def picture(self, path: Path, whole: bool = True) -> None:
        """Writes what the page looks like, below the fold as well."""
        taken = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(taken["data"]))

    def call(self, method: str, values: dict[str, Any] | None = None, own: bool = True) -> dict[str, Any]:
        """The answer to a command of the protocol, to the tab or to the browser."""
        self._number += 1
        session = {"sessionId": self._session} if own else {}
        message = {"id": self._number, "method": method, "params": values or {}, **session}
        sent = json.dumps(message).encode() + b"\0"
        while sent:
            sent = sent[os.write(self._write, sent) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]  # type: ignore[no-any-return]
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            assert select.select([self._read], [], [], PATIENCE)[0], f"no answer in {PATIENCE} s; {self.said}"
            more = os.read(self._read, 1 << 16)
            assert more, f"the browser ended with {self._process.poll()}"
            self._held += more
        line, _, self._held = self._held.partition(b"\0")
        return json.loads(line)  # type: ignore[no-any-return]

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.said.append(json.dumps(told["exceptionDetails"])[:600])
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.said.append(told["entry"]["text"])
        elif event == "Runtime.consoleAPICalled":
            self.said.append(str(told["args"]))
        elif event == "Network.requestWillBeSent" and told.get("type") != "Document":
            address = told["request"]["url"]
            if not address.startswith(("data:", "blob:")):
                self.asked.append(address)


@contextlib.contextmanager
def opened(profile: Path) -> Iterator[Browser]:
    """A browser for a while; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("there is no Chromium or Chrome here to look at the page with")
    to_read, written = os.pipe()
    commands, to_write = os.pipe()
    command = ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{written}', "bash", program, *FLAGS]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        [*command, f"--user-data-dir={profile}", "about:blank"], pass_fds=(commands, written), **quiet
    )
    os.close(commands)
    os.close(written)
    browser = Browser(process, to_read, to_write)
    try:
        yield browser
        browser.call("Browser.close", own=False)
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(to_read)
        os.close(to_write)
