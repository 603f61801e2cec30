# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The kinds of findings: what they mean, the symptoms that they explain, and how the tests provoke them. Pure.

The lists of docs/docsite/rst/troubleshooting.rst and diagnose.rst are made from this one.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Symptoms in the words of users.
ONE_GPU, SLOW, CPU, UPDATE, GARBAGE, ENDS = SYMPTOMS = (
    "only one GPU is active",
    "it is slow",
    "it runs on the CPU",
    "it was fine before the update",
    "the answers are garbage",
    "it does not start, or ends",
)
#: How a kind is tested: provoked on a host of the rig, or judged from evidence that was recorded or written down.
RIG, RECORDED = "rig", "recorded evidence"


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        text: what is wrong, as a sentence without a full stop.
        symptoms: those that it explains.
        tested: RIG or RECORDED.
        remedy: what the guide says to do, where that depends on the host. A word in capitals, such as PID, stands for
            a value, which `remedy_of` fills in. "" where the rule that makes the finding always says the same.
    """

    text: str
    symptoms: tuple[str, ...]
    tested: str = RECORDED
    remedy: str = ""


_DRIVER: dict[str, Kind] = {
    "driver_library_mismatch": Kind(
        "The NVIDIA driver was upgraded, and the kernel still runs the module of the old version", (CPU, UPDATE), RIG
    ),
    "driver_not_loaded": Kind("The kernel module of the NVIDIA driver is not loaded", (CPU, UPDATE), RIG),
    "driver_library_missing": Kind("The driver's library libnvidia-ml.so.1 is not installed", (CPU, UPDATE), RIG),
    "driver_hangs": Kind("The driver does not answer", (CPU, SLOW, ENDS), RIG),
    "driver_refuses": Kind("The driver answers with an error", (CPU,), RIG),
    "gpu_not_listed": Kind(
        "A GPU is on the PCI bus, but the driver does not list it",
        (ONE_GPU, CPU),
        RIG,
        remedy="If the GPU was given to a virtual machine, bind it to the driver nvidia. Otherwise look for NVRM and "
        "Xid in journalctl -k, then reboot the host. If the GPU is still missing, reseat it.",
    ),
    "gpu_lost": Kind(
        "The driver has lost a GPU, or cannot use it before a reset",
        (ONE_GPU, CPU, ENDS),
        RIG,
        remedy="Reset the GPU (nvidia-smi --gpu-reset) or reboot the host, and look for Xid in journalctl -k.",
    ),
    "device_node_missing": Kind("A device node of the GPUs is missing in /dev", (CPU, ONE_GPU, UPDATE), RIG),
    "device_node_closed": Kind("The user of the service may not open a device node of the GPUs", (CPU, ONE_GPU), RIG),
    "unit_hides_devices": Kind(
        "The sandbox of the systemd unit hides the GPUs from the service",
        (CPU,),
        RIG,
        remedy="Remove PrivateDevices, DevicePolicy or DeviceAllow from the unit or its drop-in (systemctl cat SERVICE "
        "shows them), or allow the nodes. Then run systemctl daemon-reload and restart the service.",
    ),
}
_GPU: dict[str, Kind] = {
    "compute_mode_prohibited": Kind(
        "The compute mode of a GPU forbids all programs",
        (CPU, ONE_GPU),
        RIG,
        remedy="Run nvidia-smi --id=UUID --compute-mode=DEFAULT.",
    ),
    "compute_mode_exclusive": Kind(
        "The compute mode of a GPU allows only one process",
        (ENDS, CPU, ONE_GPU),
        RIG,
        remedy="Run nvidia-smi --id=UUID --compute-mode=DEFAULT.",
    ),
    "mig_without_devices": Kind("MIG is enabled on a GPU, but no MIG device exists", (CPU, ONE_GPU), RIG),
    "mig_one_device_only": Kind(
        "A server is given several MIG devices, but CUDA lets a process use only one", (ONE_GPU, SLOW), RIG
    ),
    "mig_change_pending": Kind("The MIG mode of a GPU changes at its next reset", (UPDATE, ONE_GPU), RIG),
    "gpu_not_built_for": Kind(
        "The release of Ollama has no code for the compute capability of a GPU",
        (CPU, ONE_GPU, UPDATE),
        RIG,
        remedy="Use an Ollama release that supports the GPU, if the finding names one, or another GPU.",
    ),
    "driver_too_old": Kind(
        "The release of Ollama needs a later driver for a GPU",
        (CPU, UPDATE),
        RIG,
        remedy="Install the driver version that the finding names, or a later one.",
    ),
    "library_leaves_gpu_out": Kind(
        "OLLAMA_LLM_LIBRARY selects a library that does not support a GPU",
        (CPU, ONE_GPU),
        RIG,
        remedy="Remove OLLAMA_LLM_LIBRARY, or set it to the library that the finding names.",
    ),
    "pcie_narrow": Kind("The PCIe link of a GPU uses fewer lanes than the GPU has", (SLOW,), RIG),
    "pcie_slow_under_load": Kind(
        "The PCIe link of a GPU runs at a lower generation while the GPU computes", (SLOW,), RIG
    ),
    "nvlink_partly_down": Kind("Some NVLink connections of a GPU are down", (SLOW, GARBAGE), RIG),
    "gpu_too_hot": Kind("A GPU is too hot and lowers its clocks", (SLOW,), RIG),
    "power_brake": Kind("The power supply makes a GPU lower its clocks", (SLOW,), RIG),
    "power_limit_lowered": Kind(
        "The power limit of a GPU is below the default of the board",
        (SLOW,),
        RIG,
        remedy="If nobody set the limit on purpose, run nvidia-smi --id=UUID --power-limit=WATTS.",
    ),
    "ecc_errors": Kind("The memory of a GPU had errors that ECC could not correct", (GARBAGE, ENDS), RIG),
    "memory_row_faulty": Kind(
        "The memory of a GPU has a faulty row that waits for a reset, or that cannot be replaced",
        (GARBAGE, ENDS),
        RIG,
        remedy="Reset the GPU or reboot the host. If the row cannot be replaced, replace the board.",
    ),
    "recovery_wanted": Kind("The driver asks for a reset of a GPU, or for a reboot of the host", (ENDS, ONE_GPU), RIG),
    "xid": Kind(
        "The driver has logged errors (Xid) of a GPU",
        (GARBAGE, ENDS, ONE_GPU),
        remedy="Do what the finding says about this number. The Xid catalog of NVIDIA explains all numbers.",
    ),
    "persistence_off": Kind(
        "Persistence mode is off, so that the first program on an idle GPU waits for the driver", (SLOW,), RIG
    ),
    "vgpu_unlicensed": Kind("A virtual GPU has no licence", (SLOW, CPU)),
    "vgpu_profile": Kind("The profile of a virtual GPU is for desktops, not for computing", (CPU,), RIG),
}
_SETTINGS: dict[str, Kind] = {
    "environment_not_applied": Kind(
        "A server runs with other environment variables than its unit and drop-ins set",
        (UPDATE, ONE_GPU),
        RIG,
        remedy="Run systemctl daemon-reload, then systemctl restart SERVICE.",
    ),
    "environment_not_planned": Kind(
        "A server runs with other environment variables than its plan sets", (UPDATE, ONE_GPU), RIG
    ),
    "unit_not_reloaded": Kind(
        "The files of a unit have changed, and systemd has not read them again",
        (UPDATE,),
        RIG,
        remedy="Run systemctl daemon-reload, then systemctl restart SERVICE.",
    ),
    "visible_devices_none": Kind("CUDA_VISIBLE_DEVICES hides all GPUs from a server", (CPU,), RIG),
    "visible_devices_invalid": Kind(
        "CUDA_VISIBLE_DEVICES has an entry that is not a GPU of the host", (CPU, ONE_GPU, UPDATE), RIG
    ),
    "visible_devices_fewer": Kind("CUDA_VISIBLE_DEVICES hides GPUs, and no other server uses them", (ONE_GPU,), RIG),
    "visible_devices_by_index": Kind(
        "CUDA_VISIBLE_DEVICES has indices of GPUs, and indices can change", (UPDATE, ONE_GPU), RIG
    ),
    "vulkan_shows_hidden_gpu": Kind(
        "A server can use GPUs through Vulkan that CUDA_VISIBLE_DEVICES hides from it", (SLOW, UPDATE), RIG
    ),
    "vulkan_instead_of_cuda": Kind("A server uses NVIDIA GPUs through Vulkan and not through CUDA", (SLOW, UPDATE)),
    "kv_cache_without_kernel": Kind(
        "Ollama's CUDA library does not support the type of the KV cache, so attention runs on the CPU",
        (SLOW, CPU),
        RIG,
    ),
    "kv_cache_type_ignored": Kind("The type of the KV cache has no effect without flash attention", (SLOW, CPU)),
    "value_not_understood": Kind(
        "Ollama does not understand the value of a variable and uses another value", (UPDATE, ONE_GPU), RIG
    ),
    "variable_without_effect": Kind("A variable has no effect on the installed release", (UPDATE, ONE_GPU), RIG),
    "peer_to_peer_on": Kind(
        "Peer-to-peer copies between GPUs are on, and they damage data on some boards", (GARBAGE,), RIG
    ),
    "unified_memory_on": Kind(
        "Unified memory is on, so that models can spill into the memory of the host", (SLOW,), RIG
    ),
}
_INSTALLED: dict[str, Kind] = {
    "two_servers": Kind("Several Ollama servers use the same GPUs", (ONE_GPU, SLOW, CPU), RIG),
    "two_programs": Kind("Ollama is installed twice", (UPDATE, CPU), RIG),
    "mixed_libraries": Kind(
        "A release of Ollama was unpacked over an older one",
        (UPDATE, CPU),
        RIG,
        remedy="Stop the service, delete the directory DIRECTORY, and install the release again.",
    ),
    "cuda_library_missing": Kind("The installed Ollama has no CUDA libraries", (CPU, UPDATE), RIG),
    "program_replaced": Kind(
        "A server still runs a program file that was replaced", (UPDATE,), RIG, remedy="Run systemctl restart SERVICE."
    ),
    "service_failed": Kind(
        "A service has failed or was stopped",
        (ENDS, UPDATE),
        RIG,
        remedy="Do what the finding says: its remedy depends on what the journal of the service holds.",
    ),
    "known_fault": Kind(
        "The release of Ollama has a known bug in how it places models",
        (SLOW, CPU),
        remedy="Use a later release, or the workaround that the finding names.",
    ),
    "engine_left_behind": Kind(
        "An engine still holds memory although its server is gone",
        (CPU, SLOW),
        RIG,
        remedy="Run kill PID. With KillMode=control-group in the unit of the server, systemd ends such processes.",
    ),
}
_PLACED: dict[str, Kind] = {
    "started_without_gpu": Kind("A server found no GPU when it started", (CPU, UPDATE), RIG),
    "server_misses_gpu": Kind("A server found fewer GPUs at its start than the driver lists", (ONE_GPU, UPDATE), RIG),
    "model_on_cpu": Kind(
        "A loaded model uses no GPU memory at all",
        (CPU, SLOW),
        RIG,
        remedy="Run systemctl restart SERVICE and load the model again. The line inference compute in the journal of "
        "the service names the GPUs that the server found.",
    ),
    "layers_on_cpu": Kind("Some layers of a model are on the CPU", (CPU, SLOW)),
    "layers_limited": Kind("The option num_gpu keeps layers of a model on the CPU", (CPU, SLOW), RIG),
    "fits_on_one_gpu": Kind("A model fits on one GPU, so Ollama uses one", (ONE_GPU,), RIG),
    "main_gpu_given": Kind("The option main_gpu keeps a model on one GPU", (ONE_GPU,), RIG),
    "unbalanced_split": Kind("Equal GPUs hold very different shares of a model", (ONE_GPU, SLOW), RIG),
    "context_of_the_tier": Kind(
        "A model has the default context length, which grows with the memory of all GPUs", (CPU, SLOW, UPDATE), RIG
    ),
    "not_as_planned": Kind(
        "An instance differs from its plan",
        (ONE_GPU, CPU, SLOW, UPDATE),
        RIG,
        remedy="Do what the finding says: its remedy is one of those in the table of the comparison with the plan.",
    ),
    "draft_takes_memory": Kind("Speculative decoding uses memory that layers of the model need", (CPU, SLOW)),
    "out_of_gpu_memory": Kind("An engine ran out of GPU memory", (ENDS, CPU)),
    "cuda_error": Kind("An engine has logged an error of CUDA", (ENDS, GARBAGE)),
    "foreign_tenant": Kind("Other processes hold GPU memory", (CPU, SLOW, ONE_GPU), RIG),
}
_MEMORY: dict[str, Kind] = {
    "swapped": Kind("A part of a server or engine is in swap", (SLOW,)),
    "killed_for_memory": Kind("The kernel killed a server or engine because memory ran out", (ENDS,)),
    "host_memory_short": Kind("The file of a model is larger than the free memory of the host", (SLOW,)),
    "page_cache": Kind("The page cache fills memory that the host shares with the GPU", (CPU, SLOW)),
}
_ANSWERS: dict[str, Kind] = {
    "answer_no_number": Kind("A model computes values that are not numbers (NaN)", (GARBAGE,), RIG),
    "answer_one_token": Kind("A model repeats one token", (GARBAGE,), RIG),
    "answer_unprintable": Kind("A model answers with characters that cannot be printed", (GARBAGE,), RIG),
    "replicas_disagree": Kind("Replicas of one model begin their answers differently", (GARBAGE,), RIG),
    "vector_wrong": Kind("An embedding model returns no vector, or one of the wrong length", (GARBAGE,), RIG),
}
#: Kinds by what they are about, as the guide groups them.
GROUPS: dict[str, dict[str, Kind]] = {
    "driver": _DRIVER,
    "GPU": _GPU,
    "settings": _SETTINGS,
    "installation": _INSTALLED,
    "placement": _PLACED,
    "memory of the host": _MEMORY,
    "answers": _ANSWERS,
}
KINDS: dict[str, Kind] = {kind: one for group in GROUPS.values() for kind, one in group.items()}


def remedy_of(kind: str, **values: object) -> str:
    """Return the remedy of a kind with the values of a host.

    Args:
        kind: one whose `remedy` has words in capitals.
        values: {word: value}, such as PID=77.
    """
    text = KINDS[kind].remedy
    for word, value in values.items():
        text = text.replace(word, str(value))
    return text
