# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The template unit of the instances."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.unit_file import Sandbox, unit_text

from tests.integration.protections import NETWORK_LINES, UNIT_LINES, UNPROTECTING, service_lines
from tests.unit.plugins.module_utils.placement.cases import plan_of


@pytest.mark.parametrize(
    "line",
    [
        "User=ollama",
        "Group=ollama",
        "EnvironmentFile=/etc/ollama-multigpu/instances/%i.env",
        "ExecStart=/usr/local/lib/ollama-multigpu/instances/%i/bin/ollama serve",
        "KillMode=control-group",
        "UMask=0077",
        "LimitCORE=0",
        "NoNewPrivileges=true",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=true",
        "ProtectProc=invisible",
        "PrivateMounts=true",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "DevicePolicy=closed",
        "DeviceAllow=char-nvidia* rw",
        "IPAddressDeny=link-local multicast",
        "Environment=HOME=/srv/models/instances/%i",
        "ReadWritePaths=/srv/models/instances/%i",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "WantedBy=multi-user.target",
    ],
)
def test_the_unit_has_the_line(line):
    assert line in unit_text("/srv/models/").splitlines()


@pytest.mark.parametrize("level", ["strict", "moderate", "off"])
def test_the_gpus_stay_reachable(level):
    """CUDA reads /proc/driver/nvidia, and the driver writes kernels into memory and runs them."""
    text = unit_text("/srv/models", Sandbox(level))
    for line in ("PrivateDevices=", "ProcSubset=", "MemoryDenyWriteExecute=", "PrivateNetwork="):
        assert line not in text


def test_the_moderate_level_leaves_devices_and_system_calls_of_services():
    text = unit_text("/srv/models", Sandbox("moderate"))
    assert "Device" not in text and "ProtectClock" not in text and "@system-service" not in text
    assert "SystemCallFilter=~@privileged" in text and "ProtectSystem=strict" in text


def test_without_a_sandbox_the_service_is_no_other_user():
    lines = unit_text("/srv/models", Sandbox("off")).splitlines()
    assert "User=ollama" in lines and "UMask=0077" in lines and "LimitCORE=0" in lines
    assert not [line for line in lines if line.startswith(("Protect", "Private", "Restrict", "SystemCall", "Device"))]


@pytest.mark.parametrize(
    ("address", "denied"),
    [
        ("127.0.0.1", "link-local multicast"),
        ("0.0.0.0", "link-local multicast"),
        ("169.254.7.1", "multicast"),
        ("::ffff:169.254.7.1", "multicast"),
        ("fe80::1", "multicast"),
    ],
)
def test_a_link_is_closed_unless_the_instances_listen_there(address, denied):
    text = unit_text("/srv/models", Sandbox(listen_address=address))
    assert "IPAddressDeny=%s" % denied in text.splitlines()


@pytest.mark.parametrize(
    ("clients", "denied"),
    [
        (("169.254.1.7", "192.0.2.7"), "multicast"),
        (("fe80::/10",), "multicast"),
        (("192.0.2.7",), "link-local multicast"),
    ],
)
def test_a_link_with_clients_is_open(clients, denied):
    text = unit_text("/srv/models", Sandbox(listen_address="0.0.0.0", guarded=True, clients=clients))
    assert "IPAddressDeny=%s" % denied in text.splitlines()


def test_stores_below_a_home_are_there_alone():
    """Also where only a link leads there."""
    text = unit_text("/srv/models", Sandbox(), "/home/big")
    assert "ProtectHome=tmpfs\nBindPaths=/home/big/instances/%i\nReadWritePaths=/srv/models/instances/%i\n" in text


def test_stores_that_are_named_below_a_home_are_there_by_that_name():
    """HOME, OLLAMA_MODELS and ReadWritePaths= have it."""
    lines = (
        "ProtectHome=tmpfs\nBindPaths=/data/m/instances/%i:/home/m/instances/%i\nReadWritePaths=/home/m/instances/%i\n"
    )
    assert lines in unit_text("/home/m", Sandbox(), "/data/m")
    assert "ProtectHome=true" in unit_text("/data/home/m", Sandbox(), "/data/home/m")
    text = unit_text("/data/home/m", Sandbox(), "/data/home/m", ["/data/home"])
    assert "ProtectHome=tmpfs\nBindPaths=/data/home/m/instances/%i\n" in text


def test_the_driver_keeps_its_kernels_where_the_service_may_write():
    """As in cuda-cache.json: else every start of an engine compiles them again."""
    plan = plan_of("b200-driver570", ollama_version="0.32.15", models_dir="/srv/models")
    assert plan["instances"]
    for instance in plan["instances"]:
        (writable,) = [line for line in unit_text("/srv/models").splitlines() if line.startswith("ReadWritePaths=")]
        place = writable.split("=")[1].replace("%i", instance["name"])
        assert instance["environment"]["CUDA_CACHE_PATH"].startswith(place + "/")


@pytest.mark.parametrize(
    ("sandbox", "allowed"),
    [
        (Sandbox(peers=("192.0.2.0/24",)), "127.0.0.0/8 192.0.2.0/24 ::1"),
        (Sandbox("off", peers=("2001:db8::/32",)), "127.0.0.0/8 ::1 2001:db8::/32"),
        (Sandbox("moderate", "192.0.2.7", ("198.51.100.9",)), "127.0.0.0/8 192.0.2.7 198.51.100.9 ::1"),
        (Sandbox(listen_address="0.0.0.0", peers=("198.51.100.9",)), "127.0.0.0/8 198.51.100.9 ::1"),
        (Sandbox(listen_address="[::]", peers=("198.51.100.9",)), "127.0.0.0/8 198.51.100.9 ::1"),
    ],
)
def test_only_peers_and_the_host_itself_are_heard(sandbox, allowed):
    lines = unit_text("/srv/models", sandbox).splitlines()
    assert [line for line in lines if line.startswith("IPAddress")] == [
        "IPAddressAllow=" + allowed,
        "IPAddressDeny=any",
    ]


def test_each_line_is_known_to_the_test_that_takes_it_away():
    """A new line is added to UNIT_LINES, with what is missed without it, or to UNPROTECTING, with the reason."""
    keys = {line.partition("=")[0] for line in service_lines(unit_text("/srv/models"))}
    assert keys == set(UNIT_LINES) | set(UNPROTECTING)
    keys = {line.partition("=")[0] for line in service_lines(unit_text("/srv/models", Sandbox(guarded=True)))}
    assert keys == set(UNIT_LINES) | set(UNPROTECTING) | set(NETWORK_LINES)


def test_rules_of_who_may_connect_come_before_the_program():
    """Only where the host has some; as root, as the user of the service may not."""
    guard = "ExecStartPre=+/usr/sbin/nft -f /etc/ollama-multigpu/firewall.nft"
    for level in ("strict", "moderate", "off"):
        lines = unit_text("/srv/models", Sandbox(level, guarded=True)).splitlines()
        assert lines.index(guard) < [line.startswith("ExecStart=") for line in lines].index(True)
        assert "ExecStartPre" not in unit_text("/srv/models", Sandbox(level))


def test_further_devices_are_allowed_beside_those_of_the_driver():
    """Of a directory of nodes, systemd allows none: the name of the driver stands for it."""
    lines = unit_text("/srv/models", Sandbox(devices=("/dev/dri", "char-drm", "/dev/nvidia-modeset"))).splitlines()
    allowed = [line for line in lines if line.startswith("DeviceAllow=")]
    assert allowed == ["DeviceAllow=%s rw" % one for one in ("char-nvidia*", "char-drm", "/dev/nvidia-modeset")]
    assert "DevicePolicy=closed" in lines
    for level in ("moderate", "off"):
        assert "DeviceAllow" not in unit_text("/srv/models", Sandbox(level, devices=("/dev/dri",)))
