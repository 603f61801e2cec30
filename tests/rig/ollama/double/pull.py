# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""/api/pull: the manifest, blobs in ranges with `-partial` files,
verification, and at the end the manifest is written.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import socket
import threading
import time

from . import gotext, registry, settings
from .errors import ApiError

_PARTS, _PART_MIN, _PART_MAX = 16, 100 * 10**6, 1000 * 10**6
_TRIES = 6
_STALL = 5.0  # seconds without a byte before a part is asked for again
_TICK = 0.06  # seconds between two progress lines
_RUNNING = {}  # path of a blob -> its _Download: two pulls of one blob share it
_LOCK = threading.Lock()


def pull(store, name, insecure):
    """Yield the progress objects of one pull.

    Closing the generator (the client has disconnected) stops the download. Its parts are kept for the next pull.
    """
    base = "%s://%s/v2/%s/%s" % ("http" if insecure else "https", name.host, name.namespace, name.model)
    before = store.load(name)
    yield {"status": "pulling manifest"}
    raw = registry.manifest(base, name)
    data = json.loads(raw)
    layers = (data.get("layers") or []) + [data["config"]]
    fetched = []
    for layer in layers:
        digest = layer["digest"]
        path = store.blob_path(digest)
        label = {"status": "pulling %s" % digest[7:19], "digest": digest}
        if os.path.exists(path):
            size = os.path.getsize(path)
            yield dict(label, total=size, completed=size)
            continue
        fetched.append(digest)
        download = _download(path, base, digest)
        try:
            while not download.finished.wait(_TICK):
                if download.total:
                    yield dict(label, total=download.total, completed=download.completed)
        finally:
            download.leave()
        if download.error:
            raise download.error
    yield {"status": "verifying sha256 digest"}
    for digest in fetched:
        _verify(store, digest)
    yield {"status": "writing manifest"}
    store.write(name, raw)
    if before and not settings.boolean("OLLAMA_NOPRUNE"):
        unused = set(before.digests()) - {layer["digest"] for layer in layers}
        if unused:
            yield {"status": "removing unused layers"}
            store.drop_unused(unused)
    yield {"status": "success"}


def _verify(store, digest):
    path = store.blob_path(digest)
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            found.update(chunk)
    if "sha256:" + found.hexdigest() != digest:
        os.unlink(path)
        raise ApiError(
            500, "digest mismatch, file must be downloaded again: want %s, got sha256:%s" % (digest, found.hexdigest())
        )


def _download(path, base, digest):
    with _LOCK:
        running = _RUNNING.get(path)
        if running is None:
            running = _RUNNING[path] = _Download(path, base, digest)
            running.start()
        running.readers += 1
        return running


class _Download(threading.Thread):
    """The download of one blob: `<blob>-partial` holds the bytes, `<blob>-partial-N` the progress of part N."""

    def __init__(self, path, base, digest):
        super().__init__(daemon=True)
        self.path, self.base, self.digest = path, base, digest
        self.parts, self.total, self.error, self.readers = [], 0, None, 0
        self.finished, self.cancelled = threading.Event(), threading.Event()

    @property
    def completed(self):
        """Number of bytes on the disk."""
        return sum(part["Completed"] for part in self.parts)

    def leave(self):
        """A reader leaves; the last one stops the download."""
        with _LOCK:
            self.readers -= 1
            if not self.readers:
                self.cancelled.set()
                if _RUNNING.get(self.path) is self:
                    del _RUNNING[self.path]

    def run(self):
        """Fetch all incomplete parts, then rename the file to the blob."""
        try:
            self._prepare()
            address = self._address()
            with open(self.path + "-partial", "r+b" if os.path.exists(self.path + "-partial") else "w+b") as stream:
                stream.truncate(self.total)
                for part in self.parts:
                    self._part(stream, address, part)
            for part in self.parts:  # before the rename, as in download.go
                os.unlink(self._part_path(part))
            os.replace(self.path + "-partial", self.path)
        except ApiError as error:
            self.error = error
        except OSError as error:
            self.error = ApiError(500, str(error))
        except ValueError:  # of a record that was cut
            self.error = ApiError(500, "EOF")
        finally:
            self.finished.set()

    def _part_path(self, part):
        return "%s-partial-%d" % (self.path, part["N"])

    def _prepare(self):
        folder, stem = os.path.split(self.path + "-partial-")
        for entry in sorted(
            (name for name in os.listdir(folder) if name.startswith(stem)), key=lambda name: int(name[len(stem) :])
        ):
            with open(os.path.join(folder, entry), encoding="utf-8") as stream:
                self.parts.append(json.load(stream))
        if self.parts:
            self.total = sum(part["Size"] for part in self.parts)
            return
        self.total = registry.blob_size(self.base, self.digest)
        size = min(max(self.total // _PARTS, _PART_MIN), _PART_MAX)
        for number, offset in enumerate(range(0, self.total, size)):
            part = {"N": number, "Offset": offset, "Size": min(size, self.total - offset), "Completed": 0}
            self.parts.append(part)
            self._save(part)
        gotext.log(
            "INFO",
            "download.go:181",
            "downloading %s in %d %s part(s)"
            % (self.digest[7:19], len(self.parts), gotext.human_bytes(self.parts[0]["Size"] if self.parts else 0)),
        )

    def _save(self, part):
        with open(self._part_path(part), "w", encoding="utf-8") as stream:
            stream.write(gotext.dumps(part) + "\n")

    def _address(self):
        """The final address. Server errors are retried for 30 seconds, as by the real client."""
        deadline, wait = time.monotonic() + 30, 0.01
        while True:
            try:
                return registry.direct_address(self.base, self.digest)
            except ApiError as error:
                if not error.text.startswith("5") or time.monotonic() > deadline or self.cancelled.is_set():
                    raise
                gotext.log(
                    "WARN", "download.go:300", "failed to get direct URL; backing off and retrying", err=error.text
                )
            self.cancelled.wait(wait)
            wait = min(wait * 4, 10)

    def _part(self, stream, address, part):
        for attempt in range(_TRIES):
            if part["Completed"] >= part["Size"]:
                return
            try:
                self._fetch(stream, address, part)
            except socket.timeout:
                gotext.log("INFO", "download.go:380", "%s part %d stalled; retrying" % (self.digest[7:19], part["N"]))
                continue
            except (ApiError, OSError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) == errno.ENOSPC:
                    raise ApiError(500, "write %s-partial: no space left on device" % self.path) from None
                if self.cancelled.is_set():
                    raise ApiError(499, "context canceled") from None
                if attempt + 1 == _TRIES:
                    raise ApiError(500, "max retries exceeded: %s" % (error or "unexpected EOF")) from None
                gotext.log(
                    "INFO",
                    "download.go:296",
                    "%s part %d attempt %d failed: %s, retrying in %ds"
                    % (self.digest[7:19], part["N"], attempt, error or "unexpected EOF", 2**attempt),
                )
                self.cancelled.wait(2**attempt)

    def _fetch(self, stream, address, part):
        first, last = part["Offset"] + part["Completed"], part["Offset"] + part["Size"] - 1
        response = registry.send(
            "GET", address, {"User-Agent": "Go-http-client/1.1", "Range": "bytes=%d-%d" % (first, last)}, timeout=_STALL
        )
        stream.seek(first)
        before = part["Completed"]
        try:
            if response.status >= 400:
                # The status is not looked at: what comes is written, and too short.
                stream.write(response.read(part["Size"] - part["Completed"]))
                stream.flush()
                raise http.client.HTTPException("EOF")
            while part["Completed"] < part["Size"]:
                if self.cancelled.is_set():
                    raise ApiError(499, "context canceled")
                data = response.read1(min(1 << 20, part["Size"] - part["Completed"]))
                if not data:
                    raise http.client.HTTPException("unexpected EOF")
                os.pwrite(stream.fileno(), data, part["Offset"] + part["Completed"])
                part["Completed"] += len(data)
        except (OSError, http.client.HTTPException) as error:
            if not isinstance(error, socket.timeout) and str(error) != "unexpected EOF":
                # Progress of an attempt that ends so is rolled back, and the record stays as it was.
                part["Completed"] = before
                raise
            self._save(part)
            raise
        except ApiError:
            self._save(part)
            raise
        else:
            self._save(part)
        finally:
            response.connection.close()
