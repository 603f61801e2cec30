# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Prometheus and node_exporter of the distribution, for the tests of the metrics."""

from __future__ import annotations

import json
import pathlib
import subprocess
import urllib.parse
import urllib.request

import yaml

from tests.integration import needed
from tests.rig.hosts import fleet
from tests.rig.hosts.podman import podman
from tests.rig.ollama.running import free_port
from tests.rig.waiting import wait_until
from tests.setup import environment as setup

#: Where a host has node_exporter in a test, and on which port of its own.
EXPORTER, EXPORTER_PORT = "/run/prometheus-node-exporter", 9100
_EXPORTER_UNIT = "node-exporter-of-a-test"


def program(name: str) -> str:
    """Path of a program of the two packages."""
    return needed.program(name, setup.UNPACKED)


def promtool(*arguments: str, stdin: str | None = None) -> str:
    """Output of promtool; what it finds fails the test."""
    done = subprocess.run(
        [program("promtool"), *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class Exporter:
    """node_exporter on a rig host, started as a guide says, as a user of its own."""

    def __init__(self, container: str, *options: str) -> None:
        self.container = container
        content = pathlib.Path(program("prometheus-node-exporter")).read_bytes()
        script = "cat > %s && chmod 755 %s" % (EXPORTER, EXPORTER)
        podman("exec", "-i", container, "sh", "-c", script, stdin=content)
        unit = ["systemd-run", "--quiet", "--collect", "--unit=" + _EXPORTER_UNIT, "--uid=nobody"]
        podman("exec", container, *unit, EXPORTER, "--web.listen-address=:%d" % EXPORTER_PORT, *options)

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_raised: object) -> None:
        podman("exec", self.container, "systemctl", "stop", _EXPORTER_UNIT, check=False)
        podman("exec", self.container, "rm", "-f", EXPORTER, check=False)

    @property
    def target(self) -> str:
        """Its address for Prometheus."""
        addresses = podman("exec", self.container, "hostname", "-I").stdout.decode()
        return "%s:%d" % (addresses.split()[0], EXPORTER_PORT)


class Prometheus:
    """A Prometheus of this test, on a free port of the loopback address."""

    def __init__(self, directory: pathlib.Path, configuration: dict) -> None:
        self.log = directory / "prometheus.log"
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        promtool("check", "config", str(path))
        port = free_port()
        self.address = "http://127.0.0.1:%d" % port
        command = [
            program("prometheus"),
            "--config.file=%s" % path,
            "--storage.tsdb.path=%s" % (directory / "data"),
            "--web.listen-address=127.0.0.1:%d" % port,
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)

    def __enter__(self) -> Prometheus:
        try:
            wait_until(self._is_ready, "Prometheus is ready, see %s" % self.log)
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_raised: object) -> None:
        self._process.terminate()
        self._process.wait(60)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self.log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(self.address + "/-/ready", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> dict:
        """The data that its API answers."""
        url = "%s/api/v1/%s?%s" % (self.address, path, urllib.parse.urlencode(parameters))
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def series(self, query: str) -> list[tuple[dict, float]]:
        """(labels, value) of each series that a query returns now."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("query", query=query)["result"]]

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def on_host(set_name: str, host: str, *options: str) -> Exporter:
    """node_exporter on a host of a set."""
    return Exporter(fleet.container_name(set_name, host), *options)
