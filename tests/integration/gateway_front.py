# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A gateway on this machine: HAProxy with the files that the role writes, in front of light servers on loopback."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
from typing import Any, Iterator, Optional

import yaml
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.files import files
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.inputs import gateway

from tests.integration.needed import not_run
from tests.rig.ollama.running import free_port
from tests.rig.waiting import PATIENCE, wait_until

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
ROLE = CHECKOUT / "roles" / "ollama_gateway"
#: Keys of the tests, by name.
KEYS = {"anna": "a-key-of-anna-0123456789", "ben": "a-key-of-ben-0123456789"}
CHAT = "/api/chat"
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


@dataclasses.dataclass
class Reply:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The words of an error, in either form."""
        error = self.json["error"]
        return error["message"] if isinstance(error, dict) else error


class Light:
    """A light server in a process of its own; a stopped one can be started again on its port."""

    def __init__(self, name: str, models: list[str]) -> None:
        self.name, self.models, self.port = name, models, free_port()
        self.process: Optional[subprocess.Popen] = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.rig.ollama.light", str(self.port), self.name, *self.models],
            cwd=str(CHECKOUT),
            stdin=subprocess.DEVNULL,
        )
        until(lambda: listens(self.port))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def ask(self, method: str, path: str, value: Any = None) -> Any:
        return ask(self.port, method, path, b"" if value is None else json.dumps(value).encode()).json

    def seen(self) -> list[dict[str, Any]]:
        """The requests that came through, without those of checks."""
        return self.ask("GET", "/rig/seen")["seen"]


def _tunables() -> str:
    """The setting of the allocator in the unit."""
    unit = (ROLE / "files" / "ollama-gateway.service").read_text(encoding="utf-8")
    return unit.split("GLIBC_TUNABLES=")[1].split("\n")[0]


def until(condition, seconds: float = PATIENCE, what: object = "") -> Any:
    """Wait until a condition holds, and return its value."""
    return wait_until(condition, str(what or condition), seconds)


def listens(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def entry(
    light: Light, instance: str, slots: int = 4, aliases: Optional[dict[str, list[str]]] = None
) -> dict[str, Any]:
    """What the facts of a host have of an instance (filter plan_endpoints)."""
    return {
        "instance": instance,
        "address": "127.0.0.1",
        "listen_address": "127.0.0.1",
        "port": light.port,
        "gpu_uuids": ["GPU-" + instance],
        "serves": [
            {
                "name": name,
                "names": [name, *(aliases or {}).get(name, ())],
                "slots": slots,
                "context_length": 8192,
                "capabilities": ["completion"],
                "resident": True,
            }
            for name in light.models
            if name not in sum((aliases or {}).values(), [])
        ],
    }


def settings(**given: Any) -> dict[str, Any]:
    """The variables of the role: its defaults, and what is given."""
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    values = {name[len("ollama_gateway_") :]: value for name, value in defaults.items()}
    return {**values, "host": "a", "address": "127.0.0.1", "tls": "none", **given}


class Front:
    """A running gateway."""

    def __init__(self, directory: pathlib.Path, certificate: Optional[str] = None) -> None:
        self.directory, self.port, self.certificate = directory, free_port(), certificate
        self.process: Optional[subprocess.Popen] = None
        self.log_path = directory / "log"

    def write(self, facts: dict[str, Any], **given: Any) -> None:
        """Write the files, as the role does."""
        made = gateway(settings(port=self.port, **given), facts, self.certificate)
        made = dataclasses.replace(made, directory=str(self.directory), socket=str(self.directory / "admin.sock"))
        lua = (ROLE / "files" / "gateway.lua").read_text(encoding="utf-8")
        for file in files(made, lua):
            (self.directory / file.name).write_text(file.content, encoding="utf-8")

    def start(self) -> "Front":
        subprocess.run([HAPROXY, "-c", "-q", "-f", str(self.directory / "haproxy.cfg")], check=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [HAPROXY, "-W", "-f", str(self.directory / "haproxy.cfg")],
                stdout=log,
                stderr=log,
                env={**os.environ, "GLIBC_TUNABLES": _tunables()},
            )
        until(lambda: listens(self.port) and (self.directory / "admin.sock").exists(), what=self.log_path)
        until(lambda: not self.servers(False), what=self.log_path)
        return self

    def reload(self) -> None:
        """Take over the files that were written, as the unit does."""
        # A signal that comes while the process still starts is lost.
        until(lambda: self.reloaded(3).returncode == 0, what=self.log_path)

    def reloaded(self, seconds: float) -> subprocess.CompletedProcess:
        """What the unit's program for it does and says."""
        program, path = ROLE / "files" / "reload_gateway.py", self.directory / "admin.sock"
        words = [sys.executable, program, path, self.process.pid, seconds]
        return subprocess.run(list(map(str, words)), check=False, capture_output=True, text=True)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)

    def command(self, text: str) -> str:
        """The answer of the socket for administration."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.directory / "admin.sock"))
            admin.sendall(text.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def rows(self) -> list[dict[str, str]]:
        """What HAProxy says of its frontends, backends and servers."""
        return list(csv.DictReader(self.command("show stat").removeprefix("# ").splitlines()))

    def row(self, backend: str, server: str = "BACKEND") -> dict[str, str]:
        """What it says of a backend, or of a server of it."""
        return next(row for row in self.rows() if (row["pxname"], row["svname"]) == (backend, server))

    def queued(self, backend: str) -> int:
        """How many requests wait for a backend."""
        return int(self.row(backend)["qcur"])

    def servers(self, up: bool) -> list[str]:
        """backend/server of those that are in rotation, or are not, after their first check."""
        rows = {"%(pxname)s/%(svname)s" % row: row for row in self.rows() if row["svname"] != "BACKEND"}
        there = {
            path: row["status"].startswith("UP") and rows[row["tracked"] or path]["check_status"] != ""
            for path, row in rows.items()
            if row["pxname"].startswith("model_")
        }
        return [name for name, is_up in there.items() if is_up == up]

    def log(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        lines = self.log_path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def ask(self, method: str, path: str, body: Any = None, key: Optional[str] = "anna", **headers: str) -> Reply:
        """Ask with a key of the tests."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            given.setdefault("Authorization", "Bearer " + KEYS.get(key, key))
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return ask(self.port, method, path, raw, given)


def ask(port: int, method: str, path: str, body: bytes = b"", headers: Optional[dict[str, str]] = None) -> Reply:
    """One request as it is written: nothing is normalised."""
    given = {"Host": "localhost", "Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
    lines = ["%s %s HTTP/1.1" % (method, path), *("%s: %s" % pair for pair in given.items()), "", ""]
    return raw(port, "\r\n".join(lines).encode("latin-1") + body)


def raw(port: int, data: bytes, seconds: float = PATIENCE) -> Reply:
    """Send bytes and read until the other side closes; status 0 where it says nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return parsed(answer)


def parsed(answer: bytes) -> Reply:
    """The first answer of a connection, its chunks joined."""
    head, unused, body = answer.partition(b"\r\n\r\n")
    if not head:
        return Reply(0, {}, b"")
    lines = head.decode("latin-1").split("\r\n")
    headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:]}
    if headers.get("transfer-encoding") == "chunked":
        parts = b""
        while body:
            size, unused, body = body.partition(b"\r\n")
            length = int(size, 16)
            parts, body = parts + body[:length], body[length + 2 :]
        body = parts
    return Reply(int(lines[0].split(" ")[1]), headers, body)


@contextlib.contextmanager
def asking(front: Front, value: Any) -> Iterator[socket.socket]:
    """A client without a key that waits for an answer; it is gone after the block."""
    body = json.dumps(value).encode()
    head = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode() + body)
        yield connection


@contextlib.contextmanager
def running(
    directory: pathlib.Path, facts: dict[str, Any], certificate: Optional[str] = None, **given: Any
) -> Iterator[Front]:
    """A gateway that is stopped at the end."""
    if HAPROXY is None:
        not_run("haproxy is missing: it is not installed (make test installs it where it may)")
    front = Front(directory, certificate)
    front.write(facts, **given)
    try:
        yield front.start()
    finally:
        front.stop()


@contextlib.contextmanager
def two_lights() -> Iterator[list[Light]]:
    """Two instances: both serve llama3 (and its alias chat), the first also tiny."""
    found = [Light("one", ["llama3:latest", "chat:latest", "tiny:8b"]), Light("two", ["llama3:latest", "chat:latest"])]
    try:
        yield found
    finally:
        for light in found:
            light.kill()


def facts_of(lights: list[Light], slots: int = 4) -> dict[str, Any]:
    """The facts of a host with these instances, gpu0 and so on; chat, where one has it, is an alias of llama3."""
    instances = []
    for number, light in enumerate(lights):
        aliases = {"llama3:latest": ["chat:latest"]} if "chat:latest" in light.models else None
        instances.append(entry(light, "gpu%d" % number, slots, aliases))
    return {"a": {"ollama_version": "0.32.15", "endpoints": instances}}
