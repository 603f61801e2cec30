# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What sysfs and procfs say about GPUs, read from made-up trees."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import sysfs


@pytest.mark.parametrize(
    "given, expected",
    [
        ("00000000:18:00.0", "0000:18:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("00010000:3B:00.0", "10000:3b:00.0"),
        ("0000:AF:00.0", "0000:af:00.0"),
        ("nonsense", None),
    ],
)
def test_a_pci_address_keeps_its_domain(given, expected):
    assert sysfs.sysfs_bus_id(given) == expected


def test_that_there_is_no_gpu_is_sure_only_with_a_bus_that_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sysfs, "is_tegra", lambda: False)
    monkeypatch.setattr(sysfs, "_WSL", str(tmp_path / "dxg"))
    bus = tmp_path / "bus"
    assert sysfs.no_gpu_present(str(bus)) is False
    (bus / "0000:00:02.0").mkdir(parents=True)
    (bus / "0000:00:02.0" / "vendor").write_text("0x8086\n")
    assert sysfs.no_gpu_present(str(bus)) is True
    (tmp_path / "dxg").touch()
    assert sysfs.no_gpu_present(str(bus)) is False, "GPUs of Windows are not on the bus of its Linux"
    assert sysfs.is_wsl() is True
    (tmp_path / "dxg").unlink()
    assert sysfs.is_wsl() is False
    monkeypatch.setattr(sysfs, "is_tegra", lambda: True)
    assert sysfs.no_gpu_present(str(bus)) is False
    monkeypatch.setattr(sysfs, "is_tegra", lambda: False)
    (bus / "0000:00:02.0" / "vendor").write_text("0x10de\n")
    (bus / "0000:00:02.0" / "class").write_text("0x038000\n")
    assert sysfs.no_gpu_present(str(bus)) is False and sysfs.pci_gpus(str(bus)) == ["0000:00:02.0"]


def test_gpus_on_the_bus_are_nvidias_display_controllers(tmp_path):
    for address, vendor, kind in (
        ("0000:18:00.0", "0x10de", "0x030200"),
        ("0000:18:00.1", "0x10de", "0x040300"),
        ("0000:3b:00.0", "0x10de", "0x030000"),
        ("0000:00:02.0", "0x8086", "0x030000"),
        ("0000:41:00.0", "0x1002", "0x038000"),
        ("0000:41:00.1", "0x1002", "0x040300"),
    ):
        (tmp_path / address).mkdir()
        (tmp_path / address / "vendor").write_text(vendor + "\n")
        (tmp_path / address / "class").write_text(kind + "\n")
    assert sysfs.pci_gpus(str(tmp_path)) == ["0000:18:00.0", "0000:3b:00.0"]
    assert sysfs.amd_gpus(str(tmp_path)) == ["0000:41:00.0"]
    assert sysfs.pci_gpus(str(tmp_path / "nowhere")) == sysfs.amd_gpus(str(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("text, node", [("1\n", 1), ("0\n", 0), ("-1\n", None)])
def test_the_numa_node(tmp_path, text, node):
    (tmp_path / "0000:18:00.0").mkdir()
    (tmp_path / "0000:18:00.0" / "numa_node").write_text(text)
    assert sysfs.numa_node("0000:18:00.0", str(tmp_path)) == node
    assert sysfs.numa_node(None, str(tmp_path)) is None


def test_the_loaded_driver(tmp_path):
    version = tmp_path / "version"
    version.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\n"
        "GCC version:  gcc 12.2.0\n"
    )
    assert sysfs.loaded_driver_version(str(version)) == "580.95.05"
    assert sysfs.loaded_driver_version(str(tmp_path / "none")) is None


def test_memory_of_the_host(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n")
    assert sysfs.host_memory(str(tmp_path / "meminfo")) == (1024000, 409600)
    assert sysfs.host_memory(str(tmp_path / "none")) == (None, None)
