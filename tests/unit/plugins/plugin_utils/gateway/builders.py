# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Endpoints and variables that tests of the gateway begin with."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import Endpoint, ServedModel

KEY = "0123456789abcdef0123"


def model(name, *names, **given):
    """A model of an instance."""
    return dataclasses.replace(ServedModel(name, (name, *names), 2, 8192, ("completion",)), **given)


def endpoint(host, instance, *models, address="192.0.2.1", listen_address="0.0.0.0", port=11434):
    """An instance of a host."""
    return Endpoint(host, instance, address, listen_address, port, models)


def facts(*endpoints, version="0.32.15"):
    """{host: what its facts have} of endpoints, see filter plan_endpoints."""
    found = {}
    for one in endpoints:
        entry = {
            "instance": one.instance,
            "address": one.address,
            "listen_address": one.listen_address,
            "port": one.port,
            "gpu_uuids": [],
            "serves": [dataclasses.asdict(model) for model in one.models],
        }
        found.setdefault(one.host, {"ollama_version": version, "endpoints": []})["endpoints"].append(entry)
    return found


def settings(**given):
    """The variables of the role as its tasks give them to the filter."""
    values = {
        "host": "a",
        "address": "192.0.2.1",
        "gpu_hosts": ["a", "b"],
        "gpu_host_addresses": {"a": "192.0.2.1", "b": ""},
        "upstream": {},
        "virtual_address": {},
        "virtual_hosts": ["a", "b"],
        "virtual_host_addresses": {"a": "192.0.2.1", "b": "192.0.2.2"},
        "listen_address": "127.0.0.1",
        "port": 11480,
        "host_names": [],
        "origins": [],
        "tls": "none",
        "keys": [],
        "acknowledged": [],
        "allow_loading": False,
        "drain": [],
        "weights": {},
        "body_bytes": 65536,
        "connections": 100,
        "queue": 10,
        "queue_timeout": 60,
        "body_timeout": 30,
        "answer_timeout": 1800,
        "metrics_port": 0,
    }
    return {**values, **given}
