# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Findings about the condition of each GPU: modes, links, clocks, memory errors, licence. Pure.

Sources: NVML's reference (clocks event reasons, remapped rows, compute modes), the driver's persistence documentation,
the Xid catalog and the vGPU licensing guide of NVIDIA.
"""

from __future__ import annotations

import re
from typing import Any, Iterator

from ..common.gpu_devices import mig_devices, mig_enabled
from ..common.vgpu import series_without_cuda
from .kinds import remedy_of
from .shapes import CERTAIN, LIKELY, POSSIBLE, Finding, HostEvidence

_HEAT = ("hardware_thermal_slowdown", "software_thermal_slowdown")
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?(?P<address>[0-9a-fA-F:]+)[^)]*\): (?P<code>\d+)")
#: Xids of the hardware, with what to do (docs.nvidia.com/deploy/xid-errors). Most others come from a program.
HARDWARE_XIDS = {
    48: ("an uncorrectable memory error", "Reset the GPU. If it happens again, replace the board."),
    63: ("a memory row that is to be replaced", "Reset the GPU, so that the row is replaced."),
    64: ("a memory row that cannot be replaced", "Reset the GPU. If it happens again, replace the board."),
    74: ("an NVLink error", "Check the NVLink bridge and nvidia-smi nvlink --status, then reset the GPUs."),
    79: ("the GPU has fallen off the bus", "Check power, cooling and seat of the board, and reboot the host."),
    94: ("a contained memory error", "Restart the service, and reset the GPU when no program needs it."),
    95: ("an uncontained memory error", "Reset the GPU before it is used again."),
}


def gpu_findings(evidence: HostEvidence) -> Iterator[Finding]:
    """Yield what is wrong with GPUs that the driver lists."""
    for gpu in evidence.gpus:
        if gpu.get("uuid"):
            yield from _modes(gpu, evidence)
            yield from _links(gpu, evidence)
            yield from _clocks(gpu, evidence)
            yield from _memory(gpu)
            yield from _virtual(gpu)
    yield from _xids(evidence)


def _modes(gpu: dict[str, Any], evidence: HostEvidence) -> Iterator[Finding]:
    uuid, mode = gpu["uuid"], gpu.get("compute_mode")
    if mode == "prohibited":
        remedy = remedy_of("compute_mode_prohibited", UUID=uuid)
        seen = "the compute mode of %s is prohibited: no program can use it" % uuid
        yield Finding("compute_mode_prohibited", seen, CERTAIN, remedy, "", uuid)
    if mode in ("exclusive_process", "exclusive_thread"):
        remedy = remedy_of("compute_mode_exclusive", UUID=uuid)
        seen = "the compute mode of %s is %s: a second process on it gets an error" % (uuid, mode)
        yield Finding("compute_mode_exclusive", seen, LIKELY, remedy, "", uuid)
    mig = gpu.get("mig") or {}
    if mig_enabled(gpu) and not mig_devices(gpu):
        yield Finding(
            "mig_without_devices",
            "MIG is enabled on %s, and there is no MIG device" % uuid,
            CERTAIN,
            "Create MIG devices (nvidia-smi mig -cgi PROFILE -C), or disable MIG (nvidia-smi -mig 0).",
            subject=uuid,
        )
    if mig.get("mode") and mig.get("pending_mode") and mig["mode"] != mig["pending_mode"]:
        yield Finding(
            "mig_change_pending",
            "MIG on %s is %s now, and will be %s after the next reset" % (uuid, mig["mode"], mig["pending_mode"]),
            CERTAIN,
            "To apply the change, reset the GPU (nvidia-smi --gpu-reset) or reboot the host. To undo it, set the mode "
            "with nvidia-smi -mig.",
            subject=uuid,
        )
    if gpu.get("persistence_mode") is False:
        held = bool(gpu.get("processes"))
        yield Finding(
            "persistence_off",
            "persistence mode is off on %s: when no process uses it, the driver shuts it down, and takes 1 to 3 s to "
            "start it again" % uuid + (" (a process uses it now)" if held else ""),
            POSSIBLE if held else LIKELY,
            "Enable the service nvidia-persistenced.",
            subject=uuid,
        )


def _links(gpu: dict[str, Any], evidence: HostEvidence) -> Iterator[Finding]:
    uuid, pcie = gpu["uuid"], gpu.get("pcie") or {}
    width, most = pcie.get("width"), pcie.get("max_width")
    if width and most and width < most:
        yield Finding(
            "pcie_narrow",
            "the PCIe link of %s uses %d of %d lanes" % (uuid, width, most),
            LIKELY,
            "Check the slot (some have fewer lanes than their length), the riser and the seat of the board. Until "
            "then, models load slowly, and so does each copy between GPUs.",
            subject=uuid,
        )
    load = evidence.under_load.get(uuid) or {}
    generation, best = load.get("generation"), pcie.get("max_generation")
    # An idle link is slow, and one sample may be from before it sped up.
    if generation and best and (load.get("busy_samples") or 0) > 1 and generation < best:
        yield Finding(
            "pcie_slow_under_load",
            "the PCIe link of %s ran at generation %d of %d in %d samples while the GPU computed"
            % (uuid, generation, best, load["busy_samples"]),
            LIKELY,
            "Check the setting of the slot in the firmware (BIOS), and the riser.",
            subject=uuid,
        )
    nvlink = gpu.get("nvlink") or {}
    if nvlink.get("links") and 0 < (nvlink.get("active") or 0) < nvlink["links"]:
        yield Finding(
            "nvlink_partly_down",
            "%d of the %d NVLink connections of %s are up" % (nvlink["active"], nvlink["links"], uuid),
            CERTAIN,
            "Check nvidia-smi nvlink --status and the NVLink bridge, then reset the GPUs.",
            subject=uuid,
        )


def _clocks(gpu: dict[str, Any], evidence: HostEvidence) -> Iterator[Finding]:
    uuid = gpu["uuid"]
    reasons = set(gpu.get("throttle_reasons") or [])
    reasons |= set((evidence.under_load.get(uuid) or {}).get("throttle_reasons") or [])
    degrees, limit = gpu.get("temperature_celsius"), gpu.get("slowdown_temperature_celsius")
    heat = sorted(reasons & set(_HEAT))
    if heat or (degrees is not None and limit is not None and degrees >= limit):
        told = ["%s has %s C" % (uuid, degrees)] if degrees is not None else []
        told += ["%s slows down at %s C" % ("it" if told else uuid, limit)] if limit is not None else []
        clocks = "its clocks are lowered" if told else "the clocks of %s are lowered" % uuid
        told += ["%s (%s)" % (clocks, ", ".join(heat))] if heat else []
        remedy = "Check fans, filters and the airflow of the rack."
        yield Finding("gpu_too_hot", "; ".join(told), CERTAIN, remedy, subject=uuid)
    elif "hardware_slowdown" in reasons and "hardware_power_brake_slowdown" not in reasons:
        at = " at %s C" % degrees if degrees is not None else ""
        seen = "the hardware lowers the clocks of %s (hardware_slowdown)%s" % (uuid, at)
        yield Finding("gpu_too_hot", seen, LIKELY, "Check cooling and power of the board.", "", uuid)
    if "hardware_power_brake_slowdown" in reasons:
        yield Finding(
            "power_brake",
            "the power supply makes %s lower its clocks (hardware_power_brake_slowdown)" % uuid,
            CERTAIN,
            "Check the power supplies of the host and the power cables of the board.",
            subject=uuid,
        )
    now, normal = gpu.get("power_limit_milliwatts"), gpu.get("default_power_limit_milliwatts")
    if now and normal and now < normal:
        yield Finding(
            "power_limit_lowered",
            "the power limit of %s is %d W, and the default of the board is %d W" % (uuid, now // 1000, normal // 1000),
            LIKELY,
            remedy_of("power_limit_lowered", UUID=uuid, WATTS=normal // 1000),
            subject=uuid,
        )


def _memory(gpu: dict[str, Any]) -> Iterator[Finding]:
    uuid, ecc = gpu["uuid"], gpu.get("ecc") or {}
    if ecc.get("uncorrected_volatile"):
        yield Finding(
            "ecc_errors",
            "%s had %d uncorrected memory errors since the driver was loaded" % (uuid, ecc["uncorrected_volatile"]),
            CERTAIN,
            "Reset the GPU (nvidia-smi --gpu-reset). If errors occur again, replace the board, and exclude the GPU "
            "until then.",
            "ollama_multigpu_exclude",
            uuid,
        )
    waits = [
        words
        for key, words in (
            ("remap_failure", "the remapping of a memory row has failed"),
            ("remap_pending", "a memory row waits for a reset to be remapped"),
            ("retired_pages_pending", "a memory page waits for a reboot to be retired"),
        )
        if ecc.get(key)
    ]
    if waits:
        failed = bool(ecc.get("remap_failure"))
        remedy = (
            "Replace the board, and exclude the GPU until then." if failed else "Reset the GPU, or reboot the host."
        )
        variable = "ollama_multigpu_exclude" if failed else ""
        yield Finding("memory_row_faulty", "%s: %s" % (uuid, ", ".join(waits)), CERTAIN, remedy, variable, uuid)
    action = gpu.get("recovery_action")
    if action not in (None, "none"):
        remedy = "Do what the driver asks for: nvidia-smi -q shows it as GPU Recovery Action."
        yield Finding(
            "recovery_wanted", "the driver asks for a recovery of %s: %s" % (uuid, action), CERTAIN, remedy, "", uuid
        )


def _virtual(gpu: dict[str, Any]) -> Iterator[Finding]:
    if gpu.get("virtualization_mode") != "vgpu_guest":
        return
    uuid, name = gpu["uuid"], gpu.get("name") or ""
    if gpu.get("vgpu_licensed") is False:
        yield Finding(
            "vgpu_unlicensed",
            "%s is a virtual GPU without a licence: the driver lowers its clocks, and then refuses CUDA" % uuid,
            CERTAIN,
            "Check the section vGPU Software Licensed Product of nvidia-smi -q, and the log of the service "
            "nvidia-gridd.",
            subject=uuid,
        )
    series = series_without_cuda(name)
    if series:
        yield Finding(
            "vgpu_profile",
            "%s is a virtual GPU with the profile %s: series %s is for desktops and applications"
            % (uuid, name, series),
            POSSIBLE,
            "Give the virtual machine a profile of series C or Q.",
            subject=uuid,
        )


def xids(kernel_lines: list[str]) -> dict[tuple[str, int], int]:
    """Return {(PCI address as the driver logs it, code): how often} of the messages Xid in the kernel's log.

    Args:
        kernel_lines: of host/kernel_log.py.
    """
    found: dict[tuple[str, int], int] = {}
    for line in kernel_lines:
        match = _XID.search(line)
        if match:
            key = (match.group("address").lower(), int(match.group("code")))
            found[key] = found.get(key, 0) + 1
    return found


def gpu_at(address: str, gpus: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the GPU that a message Xid is about; None where the driver lists it no more.

    Args:
        address: as `xids` gives it, without the function of the device.
        gpus: of the fact `gpu_inventory`.
    """
    return next((one for one in gpus if (one.get("pci_bus_id") or "?").startswith(address)), None)


def _xids(evidence: HostEvidence) -> Iterator[Finding]:
    for (address, code), times in sorted(xids(evidence.kernel_lines or []).items()):
        uuid = (gpu_at(address, evidence.gpus) or {}).get("uuid")
        where = "%s at %s" % (uuid or "the GPU", address)
        meaning, remedy = HARDWARE_XIDS.get(
            code, ("", "Look the number up in the Xid catalog of NVIDIA: programs cause most of these errors.")
        )
        yield Finding(
            "xid",
            "the kernel has logged Xid %d%s for %s %s since the boot"
            % (code, " (%s)" % meaning if meaning else "", where, "once" if times == 1 else "%d times" % times),
            LIKELY if code in HARDWARE_XIDS else POSSIBLE,
            remedy,
            subject=uuid or address,
        )
