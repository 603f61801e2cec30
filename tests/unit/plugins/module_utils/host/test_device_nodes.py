# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Device nodes that a service cannot open. The kernel's own null and zero stand for NVIDIA's."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.device_nodes import closed_nodes, own_nodes

DEVICES = "Character devices:\n  1 nvidia\n  1 nvidiactl\n510 other\n\nBlock devices:\n  1 nvidia-block\n"
STRICT = {"MainPID": "7", "DevicePolicy": "closed", "DeviceAllow": "char-rtc r\nchar-nvidia* rw"}
POLICY = "the device policy of the unit does not allow it"


@pytest.fixture(name="host")
def _host(tmp_path):
    """A host with the nodes of a driver, and a process 7 that sees them all."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "root").symlink_to(tmp_path)
    (tmp_path / "proc" / "devices").write_text(DEVICES, encoding="utf-8")
    for name, node in (("nvidiactl", "null"), ("nvidia-uvm", "zero"), ("nvidia0", "full"), ("nvidia1", "random")):
        (tmp_path / "dev" / name).symlink_to("/dev/" + node)
    return tmp_path


def closed(host, nodes=("/dev/nvidia0", "/dev/nvidia1"), **properties):
    return closed_nodes(dict(STRICT, **properties), nodes, str(host))


#: GPU 0 is divided; the number of GPU 2 is not known.
GPUS = [
    {
        "uuid": "GPU-0",
        "minor_number": 0,
        "mig": {
            "devices": [
                {"uuid": "MIG-1", "gpu_instance_id": 1, "compute_instance_id": 0},
                {"uuid": "MIG-2", "gpu_instance_id": 2, "compute_instance_id": 0},
                {"uuid": "MIG-3", "gpu_instance_id": 3, "compute_instance_id": 0},
            ]
        },
    },
    {"uuid": "GPU-1", "minor_number": 1, "mig": {"mode": "disabled", "devices": []}},
    {"uuid": "GPU-2", "minor_number": None},
]
#: As the driver writes it.
MIG_MINORS = """\
config 1
monitor 2
gpu0/gi1/access 12
gpu0/gi1/ci0/access 13
gpu0/gi2/access 21
gpu0/gi2/ci0/access 22
gpu1/gi1/access 147
"""


@pytest.mark.parametrize(
    ("uuids", "nodes"),
    [
        (["GPU-1"], ["nvidia1"]),
        (["GPU-1", "GPU-2"], ["nvidia1"]),
        (["MIG-2"], ["nvidia0", "nvidia-caps/nvidia-cap21", "nvidia-caps/nvidia-cap22"]),
        (["MIG-1", "MIG-2"], ["nvidia0", *("nvidia-caps/nvidia-cap%d" % number for number in (12, 13, 21, 22))]),
        (["MIG-3"], ["nvidia0"]),  # the driver says nothing about it
        ([], []),
    ],
)
def test_nodes_of_gpus_and_of_mig_devices(host, uuids, nodes):
    (host / "proc" / "driver" / "nvidia-caps").mkdir(parents=True)
    (host / "proc" / "driver" / "nvidia-caps" / "mig-minors").write_text(MIG_MINORS, encoding="utf-8")
    assert own_nodes(GPUS, uuids, str(host)) == ["/dev/" + node for node in nodes]


def test_a_host_without_mig_has_no_nodes_of_mig_devices(host):
    assert own_nodes(GPUS, ["MIG-1"], str(host)) == ["/dev/nvidia0"]


def test_nodes_of_a_mig_device_that_are_missing_and_closed(host):
    caps = host / "dev" / "nvidia-caps"
    caps.mkdir()
    (caps / "nvidia-cap12").symlink_to("/dev/full")
    nodes = ["/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap13"]
    assert closed(host, nodes) == {nodes[1]: "it is not there"}
    assert closed(host, nodes[:1], DeviceAllow="/dev/nvidiactl rw\n/dev/nvidia-uvm rw") == {nodes[0]: POLICY}


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"DeviceAllow": "char-nvidia rw"},
        {"DevicePolicy": "auto", "DeviceAllow": ""},
        {"DevicePolicy": "", "DeviceAllow": ""},
        {"DeviceAllow": "/dev/nvidiactl rw\n/dev/nvidia-uvm rwm\n/dev/nvidia0 rw\n/dev/nvidia1 rw"},
        {"MainPID": "0"},
    ],
)
def test_nothing_is_closed(host, properties):
    assert closed(host, **properties) == {}


@pytest.mark.parametrize(
    ("allow", "nodes"),
    [
        ("", ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"]),
        ("char-nvidia* r", ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"]),
        ("char-other rw", ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"]),
        ("char-nvidia-block rw", ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"]),
        ("/dev/nvidiactl rw\n/dev/nvidia0 rw\n/dev/gone rw", ["/dev/nvidia-uvm", "/dev/nvidia1"]),
    ],
)
def test_the_policy_of_the_unit_closes_nodes(host, allow, nodes):
    assert closed(host, DeviceAllow=allow) == {node: POLICY for node in nodes}


def test_a_list_alone_is_a_policy(host):
    assert closed(host, DevicePolicy="auto", DeviceAllow="char-rtc r")["/dev/nvidiactl"] == POLICY


def test_only_the_nodes_of_its_gpus_count(host):
    (host / "dev" / "nvidia1").unlink()
    assert closed(host, ["/dev/nvidia0"]) == {}
    assert closed(host, ["/dev/nvidia1"]) == {"/dev/nvidia1": "it is not there"}


def test_a_node_that_only_the_service_does_not_see(host, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("root")
    (elsewhere / "dev").mkdir()
    (host / "proc" / "7" / "root").unlink()
    (host / "proc" / "7" / "root").symlink_to(elsewhere)
    assert set(closed(host).values()) == {"the unit hides it"}


def test_a_driver_with_other_nodes(host):
    """WSL and Jetson."""
    (host / "dev" / "nvidiactl").unlink()
    assert list(closed(host)) == ["/dev/nvidiactl"] and "of other names" in closed(host)["/dev/nvidiactl"]
    assert closed(host, DevicePolicy="auto", DeviceAllow="") == {}
