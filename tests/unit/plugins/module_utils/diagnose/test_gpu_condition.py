# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the condition of GPUs, each from the facts that provoke it."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.diagnose.builders import PCI, A, found, host, inventory


def first(**changes):
    """A host whose first GPU is changed."""
    return host(inventory=inventory(first=changes))


#: A line of the kernel as in NVIDIA's Xid documentation.
XID = "NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
VGPU = {"virtualization_mode": "vgpu_guest", "name": "GRID A100D-16C"}
SLOW_LINK = {A: {"busy_samples": 9, "generation": 1, "width": 16, "throttle_reasons": []}}
CASES = {
    "compute_mode_prohibited": (first(compute_mode="prohibited"), ["prohibited", "--compute-mode=DEFAULT"]),
    "compute_mode_exclusive": (first(compute_mode="exclusive_process"), ["exclusive_process"]),
    "mig_without_devices": (
        first(mig={"mode": "enabled", "pending_mode": "enabled", "devices": []}),
        ["no MIG device", "nvidia-smi -mig 0"],
    ),
    "mig_change_pending": (
        first(mig={"mode": "disabled", "pending_mode": "enabled", "devices": []}),
        ["enabled after"],
    ),
    "persistence_off": (first(persistence_mode=False, processes=[]), ["nvidia-persistenced"]),
    "pcie_narrow": (first(pcie={"width": 4, "max_width": 16}), ["4 of 16 lanes"]),
    "pcie_slow_under_load": (host(under_load=SLOW_LINK), ["generation 1 of 4", "9 samples"]),
    "nvlink_partly_down": (first(nvlink={"links": 4, "active": 3}), ["3 of the 4"]),
    "gpu_too_hot": (first(throttle_reasons=["hardware_thermal_slowdown"], temperature_celsius=94), ["94 C", "fans"]),
    "power_brake": (first(throttle_reasons=["hardware_power_brake_slowdown"]), ["power supplies"]),
    "power_limit_lowered": (first(power_limit_milliwatts=150000), ["150 W", "300 W"]),
    "ecc_errors": (first(ecc={"enabled": True, "uncorrected_volatile": 3}), ["3 uncorrected", "GPU 0 (RTX A6000)"]),
    "memory_row_faulty": (first(ecc={"remap_failure": True}), ["has failed", "Replace"]),
    "recovery_wanted": (first(recovery_action="drain_p2p"), ["drain_p2p"]),
    "xid": (host(kernel_lines=[XID, XID]), ["Xid 79 (the GPU has fallen off the bus)", "2 times"]),
    "vgpu_unlicensed": (first(**VGPU, vgpu_licensed=False), ["without a licence", "GRID A100D-16C"]),
    "vgpu_profile": (first(**{**VGPU, "name": "NVIDIA A40-8B"}, vgpu_licensed=True), ["series B", "series C or Q"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_provokes_it(kind):
    evidence, words = CASES[kind]
    finding = found(evidence)[kind]
    assert all(word in finding.evidence + finding.remedy for word in words), finding
    assert finding.subject == A


@pytest.mark.parametrize(
    "load",
    [
        {},
        {A: {"busy_samples": 0, "generation": None, "throttle_reasons": []}},
        {A: {"busy_samples": 1, "generation": 1, "throttle_reasons": []}},
    ],
)
def test_the_link_of_an_idle_gpu_is_not_judged(load):
    assert not found(host(under_load=load))


@pytest.mark.parametrize("nvlink", [{"links": None, "active": None}, {"links": 4, "active": 0}])
def test_a_board_without_a_bridge_has_no_link_down(nvlink):
    assert not found(first(nvlink=nvlink))


def test_what_a_profile_of_a_virtual_gpu_is_for():
    assert not found(first(**VGPU, vgpu_licensed=True))
    assert not found(first(name="NVIDIA A40-8B"))  # no virtual GPU


def test_an_xid_of_a_program_is_less_sure_and_names_its_gpu():
    finding = found(host(kernel_lines=["NVRM: Xid (PCI:0000:41:00): 31, pid=1, MMU Fault"]))["xid"]
    assert finding.confidence == "possible" and finding.subject != A and "catalog" in finding.remedy
    old = found(host(kernel_lines=["[9.1] NVRM: Xid (0000:81:00): 48, x"]))["xid"]
    assert old.subject == "0000:81:00" and old.confidence == "likely" and PCI[A] not in old.evidence


def test_persistence_matters_less_where_a_process_holds_the_gpu():
    assert found(first(persistence_mode=False))["persistence_off"].confidence == "possible"


@pytest.mark.parametrize(
    ("degrees", "limit", "reasons", "told"),
    [
        (94, 90, ["hardware_thermal_slowdown"], "X has 94 C; it slows down at 90 C; its clocks are lowered ("),
        (94, 90, [], "X has 94 C; it slows down at 90 C"),
        (94, None, ["hardware_thermal_slowdown"], "X has 94 C; its clocks are lowered (hardware_thermal_slowdown)"),
        (None, 90, ["hardware_thermal_slowdown"], "X slows down at 90 C; its clocks are lowered ("),
        (None, None, ["hardware_thermal_slowdown"], "the clocks of X are lowered (hardware_thermal_slowdown)"),
        (None, None, ["hardware_slowdown"], "the hardware lowers the clocks of X (hardware_slowdown)"),
        (70, None, ["hardware_slowdown"], "the hardware lowers the clocks of X (hardware_slowdown) at 70 C"),
    ],
)
def test_what_is_not_known_of_a_hot_gpu_is_left_out(degrees, limit, reasons, told):
    seen = first(temperature_celsius=degrees, slowdown_temperature_celsius=limit, throttle_reasons=reasons)
    evidence = found(seen)["gpu_too_hot"].evidence.replace("GPU 0 (RTX A6000)", "X")
    assert evidence.startswith(told) and (told.endswith("(") or evidence == told)
