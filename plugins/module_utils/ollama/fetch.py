# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bring models into the store of the fetch server: linked or copied from the stores on the host as far as they have
them, otherwise pulled and created by a server that is started for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

from ..common import paths
from ..common.sizes import gib
from ..host.progress_file import ProgressFile
from . import fetch_server
from .ensure import WantedModel
from .ensure_list import Progress, ensure_all
from .fetch_server import FetchServer
from .store import Store
from .target import ModelError, Outcome

#: Actions for which a server is needed.
_OF_A_SERVER = ("pull", "create")


def fetch_all(wanted_models: list[WantedModel], server: FetchServer, check_mode: bool = False) -> Progress:
    """Bring models into the store of a fetch server, which is started only if the stores on the host lack something.

    A server that is killed meanwhile is started again, and its downloads go on.

    Args:
        wanted_models: in the store of the server; their addresses do not matter.
        server: the server.
        check_mode: whether nothing may be changed. No server is started then.

    Raises:
        FetchServerError: The server does not answer.
        ModelError: There is no room for all of the models; nothing was fetched.
        LibraryMissing: The host has no requests; nothing was done.
        OSError: The lock cannot be made.
    """
    offline = [replace(wanted, url=None) for wanted in wanted_models]
    if check_mode:
        return ensure_all(offline, True)
    with fetch_server.fetching():
        expected = ensure_all(offline, True)
        if not expected.failures and not any(outcome.action in _OF_A_SERVER for _wanted, outcome in expected.done):
            return ensure_all(offline)
        _check_space(expected, server)
        return _with_a_server(wanted_models, server)


def _with_a_server(wanted_models: list[WantedModel], server: FetchServer) -> Progress:
    """Start the server and bring the models; see `fetch_all`."""
    finished: list[tuple[WantedModel, Outcome]] = []
    progress_file = ProgressFile(paths.FETCH_PROGRESS)
    reported = [
        replace(wanted, pull=replace(wanted.pull, report=_reporter(progress_file, str(wanted.name))))
        for wanted in wanted_models
    ]
    try:
        for attempt in range(1 + fetch_server.RESTARTS):
            with fetch_server.running(server) as url:
                progress = ensure_all([replace(wanted, url=url) for wanted in reported])
                ended = not fetch_server.is_running()
            finished += [done for done in progress.done if done[1].changed]
            if not progress.failures or not ended or attempt == fetch_server.RESTARTS:
                break
    finally:
        progress_file.finish()
    return progress.with_earlier(finished)


def _reporter(file: ProgressFile, name: str) -> Callable[[int, int], None]:
    """A function that notes how many bytes of a model are there, and how many it has."""

    def report(completed: int, total: int) -> None:
        file.note(name, {"completed": completed, "total": total}, at_once=completed >= total)

    return report


def _check_space(expected: Progress, server: FetchServer) -> None:
    """Refuse models for all of which there is no room, before the first of them is fetched."""
    # The same model under two names comes once.
    pulled = {outcome.digest or str(wanted.name): outcome.pulled_bytes or 0 for wanted, outcome in expected.done}
    store = Store(server.store, server.user)
    needed, free = sum(pulled.values()) - store.begun_bytes(), store.free_bytes()
    if free is not None and needed > free:
        raise ModelError(
            "The models to fetch need %d bytes more (%s) in %s, where %d are free: free %d more, or set "
            "ollama_multigpu_models_dir to a directory on a larger file system. Nothing was fetched, and nothing that "
            "serves was touched." % (needed, gib(needed), server.store, free, needed - free)
        )
