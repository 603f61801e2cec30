# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Report the progress of model loads in the file that the controller reads.

GPU memory does not show the progress: an engine takes it at the beginning of a load. Its server does not either: it
answers only at the end (llama-server of Ollama 0.30 and later says "Loading model" until then). So the progress is the
part of the model file that the process has read, by read() or as mapped pages (host/proc.py).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Optional

from ..common.arguments import option
from ..host import proc
from ..host.progress_file import ProgressFile
from . import engines
from .shapes import EngineProcess

SECONDS = 2.0  # between two samples of a process


class LoadProgress:
    """The progress of all loads of one module. Several threads may use it.

    Args:
        path: of the file that is written once there is a load.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: Optional[ProgressFile] = None
        self._lock = threading.Lock()

    def _begun(self) -> ProgressFile:
        with self._lock:
            self._file = self._file or ProgressFile(self._path)
            return self._file

    def finish(self) -> None:
        """Report that no load is running any more."""
        if self._file:
            self._file.finish()

    @contextlib.contextmanager
    def of(self, instance: str, unit: str, model: str) -> Iterator[None]:
        """Report the progress of a load regularly while the block runs.

        Args:
            instance: name of the instance.
            unit: its systemd unit. The models of an instance are loaded one after the other.
            model: name of the model.
        """
        file, ended, began = self._begun(), threading.Event(), time.monotonic()
        earlier = {engine.pid for engine in engines.engines(unit, with_mapped=False)}

        def look() -> None:
            while not ended.wait(SECONDS):
                new = [engine for engine in engines.engines(unit, with_mapped=False) if engine.pid not in earlier]
                entry = dict(_read_by(new[-1] if new else None), seconds=int(time.monotonic() - began))
                file.note("%s/%s" % (instance, model), entry)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _read_by(engine: Optional[EngineProcess]) -> dict[str, int]:
    """The bytes that an engine has read of its model file, and the size of the file; {} or a part if unknown."""
    path = option(engine.arguments, "--model") if engine else None
    if engine is None or path is None:
        return {}
    try:
        total = os.stat(path).st_size
    except OSError:
        return {}
    reading = proc.reading(engine.pid)
    if reading is None:
        return {"total_bytes": total}
    # This includes the libraries and the header, which are small compared with the weights.
    read = min(total, max(reading.read_bytes, reading.mapped_bytes))
    return {"total_bytes": total, "read_bytes": read, "disk_bytes": min(read, reading.disk_bytes)}
