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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..common import environment_file, hardening, paths
from ..common.service_variables import NETWORK_VARIABLES
from ..host import file_system
from ..host.ownership import FilesError
from ..host.run_lock import run_lock
from . import temporary_server
from .store import Store, StoreError
from .temporary_server import NotStarted, UnitFile

#: How often a server that ends while it is used is started again.
RESTARTS = 3
_TEXT = """\
[Unit]
Description=Ollama that fetches models for the instances
Documentation=https://github.com/gpufleet/ollama

@service@Environment=OLLAMA_NO_CLOUD=1
Environment=OLLAMA_VULKAN=0
Environment=CUDA_VISIBLE_DEVICES=-1
Environment=HIP_VISIBLE_DEVICES=-1
Environment=ROCR_VISIBLE_DEVICES=-1
Environment=GGML_VK_VISIBLE_DEVICES=-1
EnvironmentFile=@environment@
# No device of a driver. A name server or a registry may have an address of the link.
PrivateDevices=true
DevicePolicy=closed
IPAddressDeny=multicast
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
        homes = hardening.homes(os.path.realpath(self.store), self.store, file_system.real_homes())
        lines = hardening.HARDENING + homes + hardening.SYSTEM_CALLS
        for name, value in (
            ("hardening", lines.rstrip("\n")),
            ("service", temporary_server.SERVICE),
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
    return temporary_server.is_running(paths.FETCH_UNIT)


def stop() -> None:
    """Stop the fetch server, if one runs, and remove its unit."""
    temporary_server.stop(paths.FETCH_UNIT, [paths.FETCH_UNIT_FILE, paths.FETCH_ENVIRONMENT])


def _start(server: FetchServer) -> str:
    """Start a server in place of one that another run left, and return its address."""
    stop()
    try:
        Store(server.store, server.user).repair_downloads()
        # The environment may have a proxy's password, and systemd reads it as root.
        environment = UnitFile(paths.FETCH_ENVIRONMENT, server.environment_text(), 0o600)
        temporary_server.write([environment, UnitFile(paths.FETCH_UNIT_FILE, server.unit_text())])
    except (FilesError, StoreError, ValueError) as error:
        raise FetchServerError("The server that fetches models is not started: %s." % error)
    try:
        return temporary_server.start(paths.FETCH_UNIT)
    except NotStarted as error:
        raise FetchServerError("Models cannot be fetched, and nothing that serves was touched: %s" % error)
