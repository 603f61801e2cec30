# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""HTTP API of an Ollama server (requests as in ollama-0.32.15-api.json).

Error texts differ between endpoints, so callers decide by `status` (404) and never by the text. Timeouts are in
seconds without a byte: a pull may take as long as it makes progress.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Mapping

from ..common.regular import open_regular
from .connection import OllamaError, OllamaUnreachable
from .pull_progress import PullProgress, TooLarge, TooSlow, can_resume
from .transport import Transport

# A load sends nothing until it is done, and the server itself ends a stalled one (OLLAMA_LOAD_TIMEOUT).
LOAD_TIMEOUT = 1800.0
PULL_ATTEMPTS = 5
PULL_PAUSE = 1.0  # seconds before the first retry, doubled each time

MAX_RESUMPTIONS = 100  # of a pull
MAX_LINES = 1000 * 1000  # of a creation
LEAST_RATE = 64 * 1024  # bytes per second of an upload
#: /api/generate answers so for a model that makes vectors only, whatever it is asked (server/routes.go).
CANNOT_GENERATE = "does not support generate"


class OllamaClient(Transport):
    """Client of one server, made as Transport."""

    # -- reading -------------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """Return the version of the server ("0.32.15")."""
        return str(self._json("GET", "/api/version").get("version", ""))

    def tags(self) -> list[dict[str, Any]]:
        """Return the models in the store (name, size in bytes, digest without prefix, details, capabilities)."""
        return self._models("/api/tags")

    def ps(self) -> list[dict[str, Any]]:
        """Return the loaded models (name, size and size_vram in bytes, digest, context_length, expires_at)."""
        return self._models("/api/ps")

    def show(self, model: str, verbose: bool = False, timeout: float | None = None) -> dict[str, Any]:
        """Return /api/show of a model. Raises OllamaError with status 404 if it is unknown.

        Args:
            model: name of the model.
            verbose: whether to send arrays of over five elements, megabytes with the vocabulary; else they are null.
            timeout: seconds without a byte.
        """
        return self._json("POST", "/api/show", {"model": model, "verbose": bool(verbose)}, timeout)

    def has_blob(self, digest: str) -> bool:
        """Return whether the server's store has the blob with a digest ("sha256:<hex>")."""
        try:
            self._call("HEAD", "/api/blobs/" + digest)
        except OllamaError as error:
            if error.status == 404:
                return False
            raise
        return True

    # -- running -------------------------------------------------------------------------------------------------------

    def load(
        self,
        model: str,
        keep_alive: int | str = -1,
        timeout: float = LOAD_TIMEOUT,
        options: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Load a model.

        Args:
            model: name of the model.
            keep_alive: how long to keep it: seconds, -1 for ever, or a Go duration such as "10m".
            timeout: seconds without an answer.
            options: parameters of the load.

        Returns:
            The answer (done_reason "load"; that of a model that makes vectors only has no vector).
        """
        payload: dict[str, Any] = {"model": model, "keep_alive": keep_alive, "stream": False}
        if options:
            payload["options"] = options
        try:
            return self._json("POST", "/api/generate", payload, timeout)
        except OllamaError as error:
            if CANNOT_GENERATE not in error.message:
                raise
        del payload["stream"]  # a request for the vectors of no text loads the model (server/routes.go EmbedHandler)
        return self._json("POST", "/api/embed", dict(payload, input=""), timeout)

    def unload(self, model: str, timeout: float | None = None) -> dict[str, Any]:
        """Unload a model. Return the answer (done_reason "unload")."""
        return self._json("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False}, timeout)

    def generate(
        self,
        model: str,
        prompt: str,
        options: dict[str, Any] | None = None,
        keep_alive: int | str | None = None,
        timeout: float = LOAD_TIMEOUT,
        top_logprobs: int | None = None,
    ) -> dict[str, Any]:
        """Run one generation. Return response, eval_count (tokens) and the *_duration fields (nanoseconds).

        With `top_logprobs`, releases from 0.12.11 on also return `logprobs`: of each token, and of so many others.
        """
        payload: dict[str, Any] = {"model": model, "prompt": prompt, "stream": False}
        if top_logprobs is not None:
            payload.update(logprobs=True, top_logprobs=top_logprobs)
        if options:
            payload["options"] = options
        if keep_alive is not None:
            payload["keep_alive"] = keep_alive
        return self._json("POST", "/api/generate", payload, timeout)

    def embed(
        self,
        model: str,
        text: str,
        keep_alive: int | str | None = None,
        timeout: float = LOAD_TIMEOUT,
        options: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Return the vector of a text by /api/embed."""
        payload: dict[str, Any] = {"model": model, "input": text}
        if options:
            payload["options"] = options
        if keep_alive is not None:
            payload["keep_alive"] = keep_alive
        vectors = self._json("POST", "/api/embed", payload, timeout).get("embeddings")
        return vectors[0] if isinstance(vectors, list) and vectors and isinstance(vectors[0], list) else []

    # -- changing ------------------------------------------------------------------------------------------------------

    def pull(
        self,
        model: str,
        insecure: bool = False,
        stall_timeout: float = 120.0,
        attempts: int = PULL_ATTEMPTS,
        pause: float = PULL_PAUSE,
        sizes: Mapping[str, int] | None = None,
        report: Callable[[int, int], None] | None = None,
    ) -> dict[str, Any]:
        """Pull a model. A stream that is closed or stalls is tried again; the server keeps what it has.

        Args:
            model: name of the model.
            insecure: whether the registry may use plain http.
            stall_timeout: seconds without a line after which an attempt is given up.
            attempts: the most attempts in succession without progress. MAX_RESUMPTIONS holds whatever their progress.
            pause: seconds before the second attempt, doubled each time.
            sizes: {digest: bytes} of the blobs in the registry's manifest, None where it is not known.
            report: is told of each line how many bytes are there, and how many the model has.

        Returns:
            {"blobs": {digest: bytes over the network, as far as the stream says}, "attempts": n}.

        Raises:
            OllamaError: the pull failed for good.
            OllamaUnreachable: all attempts were in vain.
        """
        progress = PullProgress(stall_timeout, sizes or {}, report)
        failures, tries = 0, 0
        while True:
            tries += 1
            try:
                if self._pull_once({"model": model, "insecure": bool(insecure)}, stall_timeout, progress):
                    return {"blobs": progress.blobs(), "attempts": tries}
                problem: OllamaError = OllamaUnreachable(
                    self.url, "the pull of %s ended without success or error" % model
                )
            except OllamaUnreachable as error:
                problem = error
            except OllamaError as error:
                if not can_resume(error.message):
                    raise
                problem = error
            failures = 1 if progress.attempt_helped() else failures + 1
            if failures >= attempts:
                raise problem
            if tries > MAX_RESUMPTIONS:
                reason = problem.cause if isinstance(problem, OllamaUnreachable) else problem.message
                raise OllamaUnreachable(
                    self.url,
                    "the pull was taken up again %d times and broke off each time (%s)" % (MAX_RESUMPTIONS, reason),
                )
            time.sleep(pause * 2 ** (failures - 1))

    def _pull_once(self, payload: dict[str, Any], stall_timeout: float, progress: PullProgress) -> bool:
        """Return whether one attempt of a pull ends with success. Raises what `pull` raises."""
        progress.begin(time.monotonic())
        for line in self._lines("/api/pull", payload, stall_timeout):
            try:
                progress.note(line, time.monotonic())
            except TooLarge as error:
                raise OllamaError(200, str(error))
            except TooSlow as error:
                raise OllamaUnreachable(self.url, str(error))
            if line.get("status") == "success":
                return True
        return False

    def put_blob(self, digest: str, path: str) -> None:
        """Upload a file as a blob, unless the server has it. Raises OllamaError (400 for a wrong digest)."""
        if self.has_blob(digest):
            return
        try:
            with open_regular(path) as stream:
                response = self._within(
                    self.timeout + LOAD_TIMEOUT + os.fstat(stream.fileno()).st_size / LEAST_RATE,
                    LOAD_TIMEOUT,
                    "POST /api/blobs",
                    lambda: self._session.post(
                        self.url + "/api/blobs/" + digest,
                        data=stream,
                        timeout=(self.timeout, LOAD_TIMEOUT),
                        allow_redirects=False,
                        stream=True,
                    ),
                )
        except OSError as error:
            raise OllamaError(None, "cannot read %s: %s" % (path, error.strerror or error))
        if response.status_code >= 400:
            raise OllamaError(response.status_code, self._error_text(response))
        response.close()

    def create(
        self,
        payload: dict[str, Any],
        progress: Callable[[dict[str, Any]], object] | None = None,
        stall_timeout: float = 300.0,
    ) -> list[dict[str, Any]]:
        """Create a model with /api/create.

        Args:
            payload: model, from or files, parameters, template, system, adapters, license, messages.
            progress: called with each line.
            stall_timeout: seconds without a line.

        Returns:
            The lines.
        """
        lines = []
        for line in self._lines("/api/create", payload, stall_timeout):
            lines.append(line)
            if len(lines) > MAX_LINES:
                raise OllamaError(200, "%s sent more than %d lines for a creation" % (self.url, MAX_LINES))
            if progress:
                progress(line)
        if not lines or lines[-1].get("status") != "success":
            raise OllamaError(200, "the creation of %s ended without success or error" % payload.get("model"))
        return lines

    def delete(self, model: str) -> None:
        """Delete a model. Raises OllamaError with status 404 if the server does not have it."""
        self._call("DELETE", "/api/delete", {"model": model})

    def copy(self, src: str, dst: str) -> None:
        """Give the model `src` a second name. Raises OllamaError with status 404 if the server does not have it."""
        self._call("POST", "/api/copy", {"source": src, "destination": dst})
