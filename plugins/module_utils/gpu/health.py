# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether a GPU should be used, and what to do about a host without usable GPUs. Pure."""

from __future__ import annotations

from . import schema

LOST = 15  # NVML_ERROR_GPU_IS_LOST
RESET_REQUIRED = 16  # NVML_ERROR_RESET_REQUIRED

#: What the driver wants done (NVML_FI_DEV_GET_GPU_RECOVERY_ACTION) -> whether the GPU can be used until then.
_RECOVERY = {
    "gpu_reset": schema.UNUSABLE,
    "node_reboot": schema.UNUSABLE,
    "drain_p2p": schema.DEGRADED,
    "drain_and_reset": schema.DEGRADED,
    "recover_imex_domain": schema.DEGRADED,
    "bus_reset": schema.UNUSABLE,
    "system_reboot": schema.UNUSABLE,
}

#: Clocks event reasons that lower the clocks for a fault: heat, or power that is missing.
SLOWED = (
    "hardware_slowdown",
    "hardware_thermal_slowdown",
    "hardware_power_brake_slowdown",
    "software_thermal_slowdown",
)


def assess(gpu: schema.Gpu) -> schema.Health:
    """Return the health of a GPU: the worst state that was found, with all reasons.

    The reasons follow NVML: uncorrected ECC errors since the driver was loaded, row remapping that failed (replace the
    board) or waits for a reset, the recovery action, compute mode, MIG, throttling, and a narrow PCIe link.
    """
    unusable: list[str] = []
    degraded: list[str] = []
    codes = [error.get("code") for error in gpu.errors.values()]
    if LOST in codes:
        unusable.append(
            "the GPU has fallen off the bus (NVML: GPU is lost): reboot the host and look for Xid messages "
            "in the kernel log"
        )
    if RESET_REQUIRED in codes:
        unusable.append("the driver requires a reset of the GPU: run nvidia-smi --gpu-reset or reboot the host")
    if gpu.uuid is None and not unusable:
        unusable.append("the driver lists the GPU but cannot open it: look for Xid messages in the kernel log")
    if gpu.compute_mode == "prohibited":
        unusable.append("the compute mode is prohibited: run nvidia-smi --compute-mode=DEFAULT")
    if gpu.ecc.uncorrected_volatile:
        unusable.append(
            "%d uncorrected ECC errors since the driver was loaded: reset the GPU" % gpu.ecc.uncorrected_volatile
        )
    if gpu.ecc.remap_failure:
        unusable.append("the remapping of a faulty memory row has failed: the board has to be replaced")
    if gpu.mig.mode == "enabled" and not gpu.mig.devices:
        unusable.append("MIG is enabled and no MIG device exists: create one, or disable MIG")
    action = _RECOVERY.get(gpu.recovery_action or "")
    if action:
        (unusable if action == schema.UNUSABLE else degraded).append(
            "the driver requires the recovery action %s" % gpu.recovery_action
        )

    if gpu.ecc.remap_pending:
        degraded.append("a faulty memory row waits for a reset to be remapped")
    if gpu.ecc.retired_pages_pending:
        degraded.append("a faulty memory page waits for a reboot to be retired")
    if gpu.mig.mode and gpu.mig.pending_mode and gpu.mig.mode != gpu.mig.pending_mode:
        degraded.append("MIG will be %s after the next reset" % gpu.mig.pending_mode)
    slowed = [reason for reason in gpu.throttle_reasons if reason in SLOWED]
    if slowed:
        degraded.append("the GPU is slowed down (%s)" % ", ".join(slowed))
    temperature, limit = gpu.temperature_celsius, gpu.slowdown_temperature_celsius
    if temperature is not None and limit is not None and temperature >= limit:
        degraded.append("%d C is at or above the slowdown temperature of %d C" % (temperature, limit))
    width, most = gpu.pcie.width, gpu.pcie.max_width
    if width is not None and most is not None and 0 < width < most:
        degraded.append("the PCIe link has %d of %d lanes" % (width, most))

    state = schema.UNUSABLE if unusable else schema.DEGRADED if degraded else schema.OK
    return schema.Health(state=state, reasons=unusable + degraded)


#: State of the host -> what to do.
REMEDIES = {
    schema.NO_BINDING: "Install the Python library nvidia-ml-py for the interpreter that Ansible uses on the host "
    "(package python3-pynvml).",
    schema.NO_LIBRARY: "Install the user space of the NVIDIA driver (the package that contains libnvidia-ml.so.1), "
    "or leave the host without GPUs.",
    schema.DRIVER_NOT_LOADED: "Load the kernel module (modprobe nvidia). If that fails, check dkms status and secure "
    "boot.",
    schema.VERSION_MISMATCH: "Reboot the host: the driver was upgraded and the old kernel module is still loaded.",
    schema.NO_PERMISSION: "Run the task with become, and check the permissions of /dev/nvidia* and the device rules of "
    "the container or service.",
    schema.NO_DEVICES: "Nothing needs to be done on a host without NVIDIA GPUs. Otherwise check lspci and the kernel "
    "log.",
    schema.TIMEOUT: "Look for a hung driver (dmesg, processes in state D), enable persistence mode, or raise the "
    "option timeout.",
    schema.NVML_ERROR: "Run nvidia-smi on the host: it shows the same error in the words of the driver.",
}
