# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The template unit of the instances."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.unit_file import unit_text

from tests.unit.plugins.module_utils.placement.cases import plan_of


@pytest.mark.parametrize(
    "line",
    [
        "User=ollama",
        "Group=ollama",
        "EnvironmentFile=/etc/ollama-multigpu/instances/%i.env",
        "ExecStart=/usr/local/lib/ollama-multigpu/instances/%i/bin/ollama serve",
        "KillMode=control-group",
        "UMask=0027",
        "NoNewPrivileges=true",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "Environment=HOME=/srv/models/instances/%i",
        "ReadWritePaths=/srv/models/instances/%i",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "WantedBy=multi-user.target",
    ],
)
def test_the_unit_has_the_line(line):
    assert line in unit_text("/srv/models/").splitlines()


def test_the_gpus_stay_reachable():
    text = unit_text("/srv/models")
    assert "PrivateDevices=" not in text and "ProtectClock=" not in text


def test_the_driver_keeps_its_kernels_where_the_service_may_write():
    """As in cuda-cache.json: else every start of an engine compiles them again."""
    plan = plan_of("b200-driver570", ollama_version="0.32.15", models_dir="/srv/models")
    assert plan["instances"]
    for instance in plan["instances"]:
        (writable,) = [line for line in unit_text("/srv/models").splitlines() if line.startswith("ReadWritePaths=")]
        place = writable.split("=")[1].replace("%i", instance["name"])
        assert instance["environment"]["CUDA_CACHE_PATH"].startswith(place + "/")
