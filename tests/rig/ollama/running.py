# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Run the double on this machine for tests, installed as from the archive, with GPUs from a state file of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

from tests.rig.engine.build import build_engine
from tests.rig.gpus import state
from tests.rig.ollama import build_archive

#: Above those of the services that tests start with ports of their own (11434 and after).
_FIRST_PORT, _FEWEST_PORTS = 15000, 1000


def install(directory: pathlib.Path, version: str = "0.32.15") -> pathlib.Path:
    """Create bin/ollama and lib/ollama in `directory`; return the path of bin/ollama."""
    program = directory / "bin" / "ollama"
    program.parent.mkdir(parents=True)
    program.write_bytes(build_archive.zipapp(version))
    program.chmod(0o755)
    build_engine(directory / build_archive.ENGINE)
    for name in build_archive.CUDA:
        (directory / name).parent.mkdir(parents=True)
        (directory / name).touch()
    return program


def gpus(path: pathlib.Path, preset: str) -> pathlib.Path:
    """A state file with the GPUs of a preset; its engine loads without delay."""
    with state.edit(str(path), new=True) as values:
        values.update(state.preset(preset))
        values.update({"engine.load_ms": "0", "engine.token_ms": "0"})
    return path


def free_port() -> int:
    """A port that is not in use, and that the kernel gives to no connection of a client.

    Such a connection would take the port of a server between two of its starts.
    """
    first_of_clients = int(
        pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0]
    )
    while True:
        port = random.SystemRandom().randrange(_FIRST_PORT, max(_FIRST_PORT + _FEWEST_PORTS, first_of_clients))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """A started `ollama serve`."""

    def __init__(
        self,
        program: pathlib.Path,
        home: pathlib.Path,
        models: pathlib.Path | None,
        gpu_state: pathlib.Path,
        environment: dict | None = None,
    ):
        self.port = free_port()
        self.log_path = home / ("serve-%d.log" % self.port)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "GPU_RIG_STATE": str(gpu_state),
            "OLLAMA_HOST": "127.0.0.1:%d" % self.port,
            "RES_OPTIONS": "timeout:1 attempts:1",
        }
        if models:
            self.environment["OLLAMA_MODELS"] = str(models)
        self.environment.update(environment or {})
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(program), "serve"], env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def wait(self, seconds: float = 60) -> "Server":
        """Wait until the server answers or has exited."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.request("GET", "/api/version")
                return self
            except OSError:
                time.sleep(0.02)
        return self

    def request(
        self, method: str, path: str, body: bytes | dict | None = None, headers: dict | None = None
    ) -> tuple[int, str, object]:
        """(status, content type, decoded body): JSON, a list of JSON lines, or text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, raw, headers or {})
        response = connection.getresponse()
        kind, text = response.headers.get("Content-Type", ""), response.read().decode()
        connection.close()
        if kind == "application/x-ndjson":
            return response.status, kind, [json.loads(line) for line in text.splitlines()]
        return response.status, kind, json.loads(text) if text and kind.startswith("application/json") else text

    def unload_all(self) -> None:
        """Unload all models."""
        for model in self.request("GET", "/api/ps")[2]["models"]:
            self.request("POST", "/api/generate", {"model": model["name"], "keep_alive": 0})

    def engines(self) -> list[int]:
        """Pids of the engines that run for this server, oldest first; orphans of a killed server too."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if (
                    entry.name.isdigit()
                    and self.variables(int(entry.name)).get("OLLAMA_HOST") == self.environment["OLLAMA_HOST"]
                    and "--model" in self.arguments(int(entry.name))
                ):
                    # By the time of their start: process numbers wrap round.
                    started = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
                    found.append((started, int(entry.name)))
            except OSError:
                continue
        return [pid for _started, pid in sorted(found)]

    @staticmethod
    def arguments(pid: int) -> list[str]:
        """A process's argument list."""
        return [word.decode() for word in pathlib.Path("/proc/%d/cmdline" % pid).read_bytes().split(b"\0")[:-1]]

    @staticmethod
    def variables(pid: int) -> dict[str, str]:
        """A process's environment."""
        words = pathlib.Path("/proc/%d/environ" % pid).read_bytes().decode(errors="replace").split("\0")
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self) -> list[str]:
        """The lines written so far."""
        return self.log_path.read_text(errors="replace").splitlines()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)
