# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether a GPU should be used, from what was read of it; and what to do about a host without usable GPUs. Pure."""

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

_SLOWED = (
    "hardware_slowdown",
    "hardware_thermal_slowdown",
    "hardware_power_brake_slowdown",
    "software_thermal_slowdown",
)


def assess(gpu):
    """Return the schema.Health of a schema.Gpu: the worst of what was found, with all reasons.

    Reasons come from NVML's own semantics: uncorrected ECC errors since the driver was loaded, row remapping that failed
    (replace the board) or waits for a reset, the recovery action, compute mode, MIG, throttling, and a narrow PCIe link.
    """
    unusable, degraded = [], []
    codes = [error.get("code") for error in gpu.errors.values()]
    if LOST in codes:
        unusable.append(
            "the GPU has fallen off the bus (NVML: GPU is lost): reboot the host and look for Xid messages in the kernel log"
        )
    if RESET_REQUIRED in codes:
        unusable.append("the driver asks for a reset of the GPU: run nvidia-smi --gpu-reset or reboot the host")
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
    action = _RECOVERY.get(gpu.recovery_action)
    if action:
        (unusable if action == schema.UNUSABLE else degraded).append(
            "the driver asks for the recovery action %s" % gpu.recovery_action
        )

    if gpu.ecc.remap_pending:
        degraded.append("a faulty memory row waits for a reset to be remapped")
    if gpu.ecc.retired_pages_pending:
        degraded.append("a faulty memory page waits for a reboot to be retired")
    if gpu.mig.mode and gpu.mig.pending_mode and gpu.mig.mode != gpu.mig.pending_mode:
        degraded.append("MIG will be %s after the next reset" % gpu.mig.pending_mode)
    slowed = [reason for reason in gpu.throttle_reasons if reason in _SLOWED]
    if slowed:
        degraded.append("the GPU is slowed down (%s)" % ", ".join(slowed))
    if (
        None not in (gpu.temperature_celsius, gpu.slowdown_temperature_celsius)
        and gpu.temperature_celsius >= gpu.slowdown_temperature_celsius
    ):
        degraded.append(
            "%d C is at or above the slowdown temperature of %d C"
            % (gpu.temperature_celsius, gpu.slowdown_temperature_celsius)
        )
    if None not in (gpu.pcie.width, gpu.pcie.max_width) and 0 < gpu.pcie.width < gpu.pcie.max_width:
        degraded.append("the PCIe link has %d of %d lanes" % (gpu.pcie.width, gpu.pcie.max_width))

    state = schema.UNUSABLE if unusable else schema.DEGRADED if degraded else schema.OK
    return schema.Health(state=state, reasons=unusable + degraded)


#: State of the host -> what to do.
REMEDIES = {
    schema.NO_BINDING: "Install the Python library nvidia-ml-py for the interpreter that Ansible uses on the host (package python3-pynvml).",
    schema.NO_LIBRARY: "Install the NVIDIA driver's user space (the package that holds libnvidia-ml.so.1), or leave the host without GPUs.",
    schema.DRIVER_NOT_LOADED: "Load the kernel module (modprobe nvidia); if that fails, look at dkms status and at secure boot.",
    schema.VERSION_MISMATCH: "Reboot the host: the driver was upgraded and the old kernel module is still loaded.",
    schema.NO_PERMISSION: "Run the task with become, and check the permissions of /dev/nvidia* and the device rules of the container or service.",
    schema.NO_DEVICES: "Nothing to do on a host without NVIDIA GPUs; otherwise check lspci and the kernel log.",
    schema.TIMEOUT: "Look for a hung driver (dmesg, processes in state D), enable persistence mode, or raise the option timeout.",
    schema.NVML_ERROR: "Run nvidia-smi on the host: it shows the same error with the driver's own words.",
}
