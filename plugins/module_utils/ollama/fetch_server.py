# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A server that fetches models while the instances serve: without a GPU, on a loopback port, with a store of its own.

It is the program of the release that the instances will run, in a unit of its own, which lies in /run and is never
enabled. A client of an instance notices nothing of it. OLLAMA_NOPRUNE is set because a server that starts deletes what
no manifest names and is older than an hour, unfinished downloads at once with it (server/routes.go, Serve;
server/images.go, PruneLayers).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..common import environment_file, hardening, paths, secrets
from ..common.service_variables import NETWORK_VARIABLES
from ..host import listeners, systemd
from ..host.command import ask
from ..host.files import Files, FilesError, WantedFile
from ..host.ownership import Ownership
from ..host.run_lock import run_lock
from .client import OllamaClient, OllamaError
from .store import Store, StoreError

#: Longest time until the server answers. The socket is open before it has looked for GPUs.
START_SECONDS = 120.0
#: How often a server that ends while it is used is started again.
RESTARTS = 3
_SYSTEMCTL_SECONDS = 90.0
_ANSWER_SECONDS = 5.0
_INTERVAL = 0.2
_JOURNAL_LINES = 5
_TEXT = """\
[Unit]
Description=Ollama that fetches models for the instances
Documentation=https://github.com/gpufleet/ollama

[Service]
Type=exec
User=@user@
Group=@user@
Environment=HOME=@store@
Environment=OLLAMA_MODELS=@store@
# The kernel chooses a free port.
Environment=OLLAMA_HOST=127.0.0.1:0
Environment=OLLAMA_NOPRUNE=1
Environment=OLLAMA_NO_CLOUD=1
Environment=OLLAMA_VULKAN=0
Environment=CUDA_VISIBLE_DEVICES=-1
Environment=HIP_VISIBLE_DEVICES=-1
Environment=ROCR_VISIBLE_DEVICES=-1
Environment=GGML_VK_VISIBLE_DEVICES=-1
EnvironmentFile=@environment@
ExecStart=@release@/bin/ollama serve
Restart=no
KillMode=control-group
TimeoutStopSec=30
UMask=0077
LimitCORE=0
# No device of a driver. A name server or a registry may have an address of the link.
PrivateDevices=true
DevicePolicy=closed
IPAddressDeny=multicast
ReadWritePaths=@store@
@hardening@
"""


class FetchServerError(Exception):
    """The server cannot be started. The text is one sentence, or several, with a remedy."""


@dataclass(frozen=True)
class FetchServer:
    """A server that fetches models.

    Attributes:
        release: Directory of the release whose program it is.
        store: Its models directory, which belongs to the service user.
        environment: Variables that say how it reaches registries; others are left out.
        user: The user that the store belongs to; None, in tests, for whoever owns it.
    """

    release: str
    store: str
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    user: str | None = paths.USER

    def unit_text(self) -> str:
        """Return the text of its unit."""
        text = "# Written by the role ollama_multigpu for as long as models are fetched.\n" + _TEXT
        lines = hardening.HARDENING + hardening.homes(os.path.realpath(self.store)) + hardening.SYSTEM_CALLS
        for name, value in (
            ("hardening", lines.rstrip("\n")),
            ("user", paths.USER),
            ("store", self.store),
            ("environment", paths.FETCH_ENVIRONMENT),
            ("release", self.release),
        ):
            text = text.replace("@%s@" % name, value)
        return text

    def environment_text(self) -> str:
        """Return the text of the environment file of its unit."""
        given = {name: self.environment[name] for name in NETWORK_VARIABLES if name in self.environment}
        return environment_file.environment_file(given)


@contextlib.contextmanager
def fetching() -> Iterator[None]:
    """Be the only process of this host that fetches models: wait until another has ended.

    Raises:
        OSError: The lock cannot be made.
    """
    with run_lock(wait=None, path=paths.FETCH_LOCK):
        yield


@contextlib.contextmanager
def running(server: FetchServer) -> Iterator[str]:
    """Start a fetch server, give its address, and stop it at the end, however the block ends.

    Raises:
        FetchServerError: It does not answer.
    """
    try:
        yield _start(server)
    finally:
        stop()


def is_running() -> bool:
    """Return whether the unit of the fetch server runs."""
    return systemd.show([paths.FETCH_UNIT]).get(paths.FETCH_UNIT, {}).get("ActiveState") in ("active", "activating")


def stop() -> None:
    """Stop the fetch server, if one runs, and remove its unit."""
    if os.path.lexists(paths.FETCH_UNIT_FILE) or is_running():
        _systemctl("stop", paths.FETCH_UNIT)
        _systemctl("reset-failed", paths.FETCH_UNIT)
    for path in (paths.FETCH_UNIT_FILE, paths.FETCH_ENVIRONMENT):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _start(server: FetchServer) -> str:
    """Start a server in place of one that another run left, and return its address."""
    stop()
    try:
        Store(server.store, server.user).repair_downloads()
        _write_files(server)
    except (FilesError, StoreError, ValueError) as error:
        raise FetchServerError("The server that fetches models is not started: %s." % error)
    unit = systemd.show([paths.FETCH_UNIT]).get(paths.FETCH_UNIT, {})
    if unit.get("LoadState") != "loaded" or unit.get("NeedDaemonReload") == "yes":
        _systemctl("daemon-reload")
    begin = time.time()
    failed = _systemctl("start", paths.FETCH_UNIT)
    limit = time.monotonic() + START_SECONDS
    said = failed
    while not failed and time.monotonic() < limit:
        if not is_running():
            break
        said, address = _asked()
        if address:
            return address
        time.sleep(_INTERVAL)
    raise FetchServerError(
        "%s, the server that fetches models, does not answer (%s); nothing that serves was touched. %s"
        % (paths.FETCH_UNIT, said or "it ended", _journal(begin))
    )


def _asked() -> tuple[str, str]:
    """(what is wrong, address) of the server."""
    ports = [entry["port"] for entry in listeners.listeners() if entry["unit"] == paths.FETCH_UNIT]
    if not ports:
        return "it does not listen yet", ""
    url = "http://127.0.0.1:%d" % ports[0]
    try:
        OllamaClient(url, _ANSWER_SECONDS).version()
    except OllamaError as error:
        return error.message, ""
    return "", url


def _write_files(server: FetchServer) -> None:
    """Write unit and environment. The latter may have a proxy's password, and systemd reads it as root."""
    files = Files(False, lambda path: path, lambda path: False)
    for path, text, mode in (
        (paths.FETCH_ENVIRONMENT, server.environment_text(), 0o600),
        (paths.FETCH_UNIT_FILE, server.unit_text(), 0o644),
    ):
        files.put(WantedFile(path, content=text.encode("utf-8"), ownership=Ownership("root", "root", mode)))


def _journal(since: float) -> str:
    lines, why = systemd.journal(paths.FETCH_UNIT, since - 1)
    if not lines:
        return "Its journal has no lines%s." % (" (%s)" % why if why else "")
    shown = [secrets.without_credentials(line.strip()) for line in lines[-_JOURNAL_LINES:]]
    return "The last lines of its journal: %s" % " | ".join(shown)


def _systemctl(*arguments: str) -> str:
    """Run systemctl; return what it complains about, "" where it does what it was told."""
    try:
        status, _output, complaints = ask(["systemctl", *arguments], timeout=_SYSTEMCTL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "systemctl cannot be run: %s" % error
    return "" if status == 0 else (complaints.strip() or "systemctl ended with %d" % status)
