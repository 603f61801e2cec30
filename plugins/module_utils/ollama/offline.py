# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A client of no server: models are managed in a store alone, and what needs a server says so."""

from __future__ import annotations

from typing import Any, NoReturn

from .client import OllamaClient
from .connection import OllamaUnreachable

#: It is never connected to.
_URL = "http://127.0.0.1:1"


class OfflineClient(OllamaClient):
    """A client whose server never answers, so that what a store on this host can do is done there.

    Raises:
        LibraryMissing: requests is not installed.
    """

    def __init__(self) -> None:
        super().__init__(_URL)

    def _call(self, *unused: Any, **_unused: Any) -> NoReturn:
        raise OllamaUnreachable(self.url, "no server is asked")
