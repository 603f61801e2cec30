# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Debian's Chromium without a screen, in a podman container without a network: what a page becomes there.

The image is built once from the machine's own apt sources (some 900 MB) and kept in the cache. axe-core comes from the
npm registry of the machine, in one version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from tests.rig.hosts import image
from tests.rig.hosts.podman import podman, wrapper
from tests.rig.settings import RigError, cache_root, locked
from tests.rig.waiting import wait_until

PACKAGES = ("chromium", "fonts-dejavu-core")
AXE = "4.14.1"
#: Lets the page's clock run so far, in milliseconds, before its content is taken: scripts come to their end.
TO_THE_END = "--virtual-time-budget=20000"
_SECONDS = 240
#: {key: its code in Windows, which is that of the protocol, and what it types}.
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r")}
#: Where the container has the directory of a page.
_ADDRESS = "file:///page/"
#: Milliseconds from the beginning of a navigation until the page is read and its first screen is drawn.
_DRAWN = """new Promise(done => {
  const drawn = () => requestAnimationFrame(() => setTimeout(() => done(performance.now())));
  document.readyState == "complete" ? drawn() : addEventListener("load", drawn);
})"""
_CONSOLE = re.compile(r"CONSOLE[^\"]*\"(?P<text>.*)\", source: ")
#: Who asks for what the browser itself wants, such as updates.
_BROWSER = "not an origin"
#: Schemes that stay inside the browser.
_INSIDE = ("file:", "data:", "chrome:", "about:", "devtools:", "chrome-extension:")


@dataclasses.dataclass
class Visit:
    """A page after it was opened: its content, what the console has, and addresses that were asked for outside."""

    dom: str
    console: list[str]
    requests: list[str]


def name() -> str:
    """Tag of the image, which depends on its packages."""
    recipe = "\n".join([image.suite(), *PACKAGES])
    return f"localhost/gpufleet-browser:{image.suite()}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure(say=print) -> str:
    """Return the name of the image; it is built, or imported, where podman does not have it.

    Raises:
        RigError: it cannot be built.
    """
    with locked("browser"):
        if podman("image", "exists", name(), check=False).returncode:
            archive = cache_root() / "browser" / (name().rsplit(":", 1)[1] + ".tar")
            if not archive.is_file():
                image.bootstrap(archive, PACKAGES, "the browser", say)
            podman("import", str(archive), name())
        return name()


def axe() -> str:
    """Return the source of axe-core.

    Raises:
        RigError: npm is missing, or its registry does not answer.
    """
    place = cache_root() / "browser" / ("axe-core-%s.tgz" % AXE)
    with locked("axe"):
        if not place.is_file():
            if not shutil.which("npm"):
                raise RigError("npm is missing, so axe-core cannot be fetched: apt-get install npm.")
            place.parent.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(
                ["npm", "pack", "--silent", "axe-core@" + AXE], cwd=place.parent, capture_output=True, check=False
            )
            if done.returncode:
                raise RigError("npm could not fetch axe-core: %s" % done.stderr.decode(errors="replace").strip()[-300:])
        with tarfile.open(place) as packed:
            member = packed.extractfile("package/axe.min.js")
            assert member is not None
            return member.read().decode("utf-8")


def visit(page: pathlib.Path, *options: str) -> Visit:
    """Open a page and return what it became.

    Args:
        page: a file; what the browser writes is put beside it.
        options: of Chromium, such as "--force-dark-mode" or "--window-size=360,800".
    """
    log = page.with_suffix(".netlog")
    log.unlink(missing_ok=True)
    done = _chromium(page.parent, "--dump-dom", "--log-net-log=/page/" + log.name, *options, page=page.name)
    return Visit(done.stdout.decode("utf-8"), _console(done.stderr), _requests(log))


def picture(page: pathlib.Path, target: str, *options: str) -> pathlib.Path:
    """Draw a page into a file beside it: a PNG, or a PDF as it is printed."""
    what = "--print-to-pdf=" if target.endswith(".pdf") else "--screenshot="
    _chromium(page.parent, what + "/page/" + target, *options, page=page.name)
    return page.parent / target


class OpenPage:
    """A page that stays open, with somebody at the keyboard, over Chromium's DevTools protocol (version 1.3).

    Args:
        requests: where messages go, as JSON that ends with a zero.
        answers: where they come from.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests, self._answers = requests, answers
        self._count, self._session, self._received = 0, "", b""
        (page, *_others) = wait_until(self._pages, "Chromium has a page", _SECONDS)
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self._call("Page.bringToFront")
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)

    def _pages(self) -> list[str]:
        targets = self._call("Target.getTargets")["targetInfos"]
        return [one["targetId"] for one in targets if one["type"] == "page"]

    def press(self, key: str) -> None:
        """Press a key and let it go: "Tab" or "Enter"."""
        code, text = _KEYS[key]
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **told)
        self._call("Input.dispatchKeyEvent", type="keyUp", **told)

    def ask(self, script: str) -> Any:
        """Return the value of an expression in the page, or that of its promise.

        Raises:
            RigError: the page or the browser refuses it.
        """
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            error = found["exceptionDetails"]
            said = error.get("exception", {}).get("description") or error.get("text")
            raise RigError("the page refuses '%s': %s" % (script, said))
        return found["result"].get("value")

    def turn_to(self, page: str) -> float:
        """Open another page of the directory and return the seconds until it is read and drawn."""
        self._call("Page.navigate", url=_ADDRESS + page)
        return self.ask(_DRAWN) / 1000

    def boxes(self) -> int:
        """Return how many boxes the browser has laid out, once the first screen is drawn: none of what is closed."""
        self.ask(_DRAWN)
        self._call("Performance.enable")
        metrics = self._call("Performance.getMetrics")["metrics"]
        return next(int(one["value"]) for one in metrics if one["name"] == "LayoutObjects")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method; events in between are not for us."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._requests.write(json.dumps(message).encode() + b"\0")
        self._requests.flush()
        while True:
            answer = self._answer()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RigError("Chromium refuses %s: %s" % (method, answer["error"]))
                return answer["result"]

    def _answer(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            part = os.read(self._answers.fileno(), 65536)
            if not part:
                raise RigError("Chromium has ended")
            self._received += part
        whole, _zero, self._received = self._received.partition(b"\0")
        return json.loads(whole)


@contextlib.contextmanager
def opened(page: pathlib.Path) -> Iterator[OpenPage]:
    """Open a page for somebody at the keyboard; it has been read when this begins."""
    # Chromium reads file 3 and writes file 4; podman hands on the standard ones.
    arguments = _arguments(page.parent, "--remote-debugging-pipe")
    place = arguments.index("timeout")
    arguments[place:place] = ["sh", "-c", 'exec "$@" 3<&0 4>&1 1>&2', "sh"]
    arguments.insert(1, "--interactive")
    with subprocess.Popen(
        [str(wrapper()), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        # Without its input it ends by itself.
        with process.stdin as requests, process.stdout as answers:
            found = OpenPage(requests, answers)
            found.turn_to(page.name)
            yield found


def _chromium(directory: pathlib.Path, *options: str, page: str) -> subprocess.CompletedProcess:
    return podman(*_arguments(directory, *options, _ADDRESS + page))


def _arguments(directory: pathlib.Path, *options: str) -> list[str]:
    """Of podman for pages in a directory; `options` are of Chromium, an address the last one."""
    return [
        "run",
        "--rm",
        "--network=none",
        "--volume=%s:/page" % directory,
        "--shm-size=1g",
        name(),
        "timeout",
        str(_SECONDS),
        "chromium",
        "--headless",
        "--no-sandbox",  # the container is one
        "--disable-gpu",
        "--disable-component-update",
        "--disable-background-networking",
        "--disable-sync",
        "--no-first-run",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--user-data-dir=/tmp/profile",
        *options,
    ]


def _console(said: bytes) -> list[str]:
    """Messages, without those about the browser's own pages: without a network it finds that to be slow."""
    found = [match["text"] for match in map(_CONSOLE.search, said.decode("utf-8", "replace").splitlines()) if match]
    return [text for text in found if "chrome://" not in text]


def _requests(log: pathlib.Path) -> list[str]:
    """Addresses outside that the page asked for, by Chromium's log of the network."""
    text = log.read_text(encoding="utf-8", errors="replace")
    try:
        events = json.loads(text)["events"]
    except ValueError:  # the browser ended before it had closed the list
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    told = [event.get("params") or {} for event in events]
    found = [str(one.get("url")) for one in told if one.get("initiator") not in (None, _BROWSER)]
    return sorted({url for url in found if not url.startswith(_INSIDE)})
