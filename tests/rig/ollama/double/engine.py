# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One llama-server process: its arguments, environment, log lines, memory and exit."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

from . import discovery, gotext, settings
from .errors import ApiError
from .version import FAULT

_BUFFER = re.compile(r"^(\w+):\s+(\S+)\s+(model|KV|compute) buffer size =\s+([\d.]+) MiB")
_OFFLOAD = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_USING = re.compile(r"using device CUDA(\d+) .* - (\d+) MiB free")
_REASON = re.compile(r"^llama_init_from_model: |cudaMalloc failed|CUDA error|^error loading model")
_POLL = 0.02
_DIES_AFTER = re.match(r"engine-dies-after-(\d+)$", FAULT)
MIB = 1 << 20


def arguments(model, choice, options, port, load_mode):
    """The arguments of the engine (llm/llama_server.go:348-440), in the recorded order."""
    args = [
        "--model",
        model.path,
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--no-webui",
        "--offline",
        "-c",
        str(choice.context),
        "-np",
        str(choice.parallel),
        "--log-verbosity",
        "4",
        "--no-log-prefix",
        "--no-log-timestamps",
        "--no-jinja",
        "--chat-template",
        "chatml",
    ]
    projector = model.projector_bytes()
    if projector:
        args += ["--mmproj", model.projectors[0] if model.projectors else model.path]
        if not projector_offloaded(projector, choice):
            args.append("--no-mmproj-offload")
    args += draft_arguments(model, options)
    for adapter in model.adapters:
        args += ["--lora", adapter]
    if load_mode:
        args += ["--load-mode", load_mode]
    cache_type = settings.var("OLLAMA_KV_CACHE_TYPE").lower()
    if cache_type:
        args += ["--cache-type-k", cache_type, "--cache-type-v", cache_type]
    args += ["--flash-attn", choice.flash_attention, "-b", str(choice.batch), "-ub", str(choice.batch)]
    if model.header.get("pooling_type") is not None:
        args.append("--embedding")
    if options.get("num_gpu", -1) >= 0:
        args += ["-ngl", str(options["num_gpu"])]
    if options.get("num_thread", 0) > 0:
        args += ["-t", str(options["num_thread"])]
    if choice.main_gpu is not None:
        args += ["--split-mode", "none", "--main-gpu", str(choice.main_gpu)]
    args.append("--context-shift")
    if options.get("num_keep", 4) > 0:
        args += ["--keep", str(options.get("num_keep", 4))]
    return args


def draft_arguments(model, options):
    """What the engine is told of speculative decoding (llm/llama_server.go `appendDraftArgs`, `hasMTPDraft`)."""
    kind = model.draft_kind()
    # server/routes.go modelOptions: the default of draft_num_predict counts with a draft layer only.
    tokens = options.get("draft_num_predict", 4 if model.draft else 0)
    if not kind or tokens <= 0:
        return []
    args = ["--spec-type", kind, "--spec-draft-n-max", str(tokens)]
    if kind == "draft-mtp":
        args.append("--spec-draft-backend-sampling")
    return args + (["--spec-draft-model", model.draft] if model.draft else [])


def projector_offloaded(projector, choice):
    """Whether every chosen GPU has room for the projector and 1 GiB."""
    return bool(choice.gpus) and all(gpu.free >= projector + (1 << 30) for gpu in choice.gpus)


def environment(model, choice):
    """The environment of the engine: that of the server, the visible GPUs, and a margin for a projector on a GPU."""
    found = dict(os.environ, LD_LIBRARY_PATH=discovery.library_path())
    if choice.pins_devices:
        found["CUDA_VISIBLE_DEVICES"] = choice.filter_ids
    projector = model.projector_bytes()
    if FAULT == "loads-onto-the-cpu":
        found["CUDA_VISIBLE_DEVICES"] = "-1"
    if projector and projector_offloaded(projector, choice) and not settings.var("LLAMA_ARG_FIT_TARGET"):
        found["LLAMA_ARG_FIT_TARGET"] = str(-(-(projector + (1 << 30)) // MIB))
    return found


class Engine:
    """A started llama-server process.

    `size` and `size_vram` (bytes) and `used` {device index inside the child: bytes} come from its buffer lines.
    """

    def __init__(self, model, choice, options, load_mode):
        self.file_bytes = model.header.size
        self.buffers, self.offloaded, self.free, self._reasons = {}, None, {}, []
        self._stopping, self._heard = False, time.monotonic()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [os.path.join(discovery.library_dir(), "llama-server")] + arguments(
            model, choice, options, self.port, load_mode
        )
        gotext.log("INFO", "llama_server.go:433", "starting llama-server", cmd=" ".join(command))
        try:
            self.process = subprocess.Popen(
                command,
                env=environment(model, choice),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise ApiError(
                500, "error starting llama-server: fork/exec %s: %s" % (command[0], (error.strerror or "").lower())
            ) from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            self._heard = time.monotonic()
            self._parse(line)
            gotext.write(line)
        code = self.process.wait()
        if not self._stopping and code > 0:
            gotext.log(
                "ERROR", "llama_server.go:1023", "llama-server terminated", error="exit status %d" % code, exit=code
            )
        elif not self._stopping and code < 0:
            gotext.log(
                "WARN",
                "llama_server.go:1196",
                "llama-server process no longer running",
                sys=-code,
                string=self._status(),
            )

    def _parse(self, line):
        match = _BUFFER.match(line)
        if match:
            # A dry run prints such lines too: the last value counts.
            self.buffers[match.groups()[:3]] = int(float(match.group(4)) * MIB)
        elif _OFFLOAD.search(line):
            self.offloaded = tuple(map(int, _OFFLOAD.search(line).groups()))
        elif _USING.search(line):
            self.free[int(_USING.search(line).group(1))] = int(_USING.search(line).group(2)) * MIB
        elif _REASON.search(line):
            self._reasons.append(line)

    @property
    def used(self):
        """Bytes by CUDA index inside the child."""
        found = {}
        for (_component, device, _kind), size in self.buffers.items():
            if device.startswith("CUDA") and device[4:].isdigit():
                found[int(device[4:])] = found.get(int(device[4:]), 0) + size
        return found

    @property
    def size_vram(self):
        """Bytes on GPUs, according to the lines of the engine."""
        return sum(self.used.values()) if self.buffers else self.file_bytes

    @property
    def size(self):
        """All bytes; the same as size_vram if the engine reports that every layer is on a GPU."""
        if not self.buffers or (self.offloaded and self.offloaded[0] == self.offloaded[1]):
            return self.size_vram
        return sum(self.buffers.values())

    @property
    def alive(self):
        """Whether the process runs."""
        return self.process.poll() is None

    def _status(self):
        code = self.process.wait()
        return "exit status %d" % code if code >= 0 else "signal: %s" % signal.strsignal(-code).lower()

    def _terminated(self):
        self._reader.join(10)
        reasons = "".join(": " + "\n".join(self._reasons) if self._reasons else "")
        return ApiError(500, "llama-server process has terminated: %s%s" % (self._status(), reasons))

    def wait_ready(self):
        """Wait until /health answers ok. ApiError if the process exits, or is silent for OLLAMA_LOAD_TIMEOUT."""
        begun, last = time.monotonic(), None
        gotext.log("INFO", "llama_server.go:1295", "waiting for llama-server to start responding")
        while True:
            if not self.alive:
                raise self._terminated()
            status = self._health()
            if status == "ok":
                gotext.log(
                    "INFO", "llama_server.go:1362", "llama-server started in %.2f seconds" % (time.monotonic() - begun)
                )
                self._begin_to_die()
                return
            if status != last:
                gotext.log(
                    "INFO",
                    "llama_server.go:1350",
                    "waiting for llama-server to become available",
                    status="llm server " + status,
                )
                last = status
            if time.monotonic() - self._heard > settings.load_timeout():
                self.stop()
                raise ApiError(500, "timed out waiting for llama-server to start - %s" % status)
            time.sleep(_POLL)

    def _begin_to_die(self):
        """In a release that fails in that way, end some time after the load."""
        if _DIES_AFTER:
            timer = threading.Timer(int(_DIES_AFTER.group(1)), self.process.kill)
            timer.daemon = True
            timer.start()

    def _health(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            connection.request("GET", "/health")
            response = connection.getresponse()
            response.read()
            connection.close()
            return "ok" if response.status == 200 else "loading model"
        except (OSError, http.client.HTTPException):
            return "not responding"

    def healthy(self):
        """Whether the process runs and answers."""
        return self.alive and self._health() == "ok"

    def complete(self, prompt, predict, options, probabilities=0):
        """Yield the objects of llama-server's streamed /completion. ApiError 500 if the engine exits."""
        body = {
            "prompt": prompt,
            "stream": True,
            "n_predict": predict,
            "temperature": options.get("temperature", 0.8),
            "seed": options.get("seed", -1),
            **({"n_probs": probabilities} if probabilities else {}),
        }
        if FAULT == "engine-dies":
            self.process.kill()
        finished = False
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
            connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status >= 400:
                raise ApiError(response.status, response.read().decode("utf-8", "replace").strip())
            for line in response:
                if line.startswith(b"data: "):
                    answer = json.loads(line[6:])
                    finished = answer.get("stop", False)
                    yield answer
            connection.close()
        except (OSError, http.client.HTTPException, ValueError):
            pass
        if not finished:
            reason = "\n".join(self._reasons) or "unexpected EOF"
            raise ApiError(500, "an error was encountered while running the model: %s" % reason)

    def embed(self, text):
        """The object of llama-server's /v1/embeddings with the vector of one text. ApiError if there is none."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
            body = json.dumps({"input": text})
            connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError(500, "do embedding request: %s" % error) from None
        if response.status >= 400:
            raise ApiError(response.status, answer["error"]["message"])
        return answer["data"][0]

    def stop(self):
        """Kill the process and wait for its end."""
        self._stopping = True
        if self.alive:
            self.process.kill()
        self.process.wait()
        self._reader.join(10)
