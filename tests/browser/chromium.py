# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Debian's Chromium without a screen, in a podman container without a network: what a page becomes there.

The image is built once from the machine's own apt sources (some 900 MB) and kept in the cache. axe-core comes from the
npm registry of the machine, in one version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import tarfile

from tests.rig.hosts import image
from tests.rig.hosts.podman import podman
from tests.rig.settings import RigError, cache_root, locked

PACKAGES = ("chromium", "fonts-dejavu-core")
AXE = "4.14.1"
#: Lets the page's clock run so far, in milliseconds, before its content is taken: scripts come to their end.
TO_THE_END = "--virtual-time-budget=20000"
_SECONDS = 240
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


def _chromium(directory: pathlib.Path, *options: str, page: str) -> subprocess.CompletedProcess:
    return podman(
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
        "file:///page/" + page,
    )


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
