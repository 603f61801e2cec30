# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The kinds of findings: what they mean, the symptoms that they explain, and how the tests provoke them. Pure.

The table of docs/docsite/rst/diagnose.rst is made from this one.
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
    """

    text: str
    symptoms: tuple[str, ...]
    tested: str = RECORDED


KINDS: dict[str, Kind] = {
    # The driver, and the way to it.
    "driver_library_mismatch": Kind("The driver was upgraded and the old module is loaded", (CPU, UPDATE), RIG),
    "driver_not_loaded": Kind("The kernel module of the driver is not loaded", (CPU, UPDATE), RIG),
    "driver_library_missing": Kind("The driver has no libnvidia-ml.so.1", (CPU, UPDATE), RIG),
    "driver_hangs": Kind("The driver gives no answer", (CPU, SLOW, ENDS)),
    "driver_refuses": Kind("The driver answers with an error", (CPU,), RIG),
    "gpu_not_listed": Kind("A GPU is on the PCI bus, and the driver does not list it", (ONE_GPU, CPU), RIG),
    "gpu_lost": Kind("The driver cannot reach a GPU any more, or wants it reset", (ONE_GPU, CPU, ENDS), RIG),
    "device_node_missing": Kind("A device node is missing", (CPU, ONE_GPU, UPDATE), RIG),
    "device_node_closed": Kind("The service user may not open a device node", (CPU, ONE_GPU), RIG),
    "unit_hides_devices": Kind("The unit's sandbox hides the GPUs", (CPU,), RIG),
    # A GPU.
    "compute_mode_prohibited": Kind("The compute mode forbids all use", (CPU, ONE_GPU), RIG),
    "compute_mode_exclusive": Kind("The compute mode allows one process", (ENDS, CPU, ONE_GPU), RIG),
    "mig_without_devices": Kind("MIG is on and has no device", (CPU, ONE_GPU), RIG),
    "mig_one_device_only": Kind("A process sees one MIG device, and more are given to it", (ONE_GPU, SLOW), RIG),
    "mig_change_pending": Kind("MIG changes at the next reset", (UPDATE, ONE_GPU), RIG),
    "gpu_not_built_for": Kind("The release has no code for the GPU", (CPU, ONE_GPU, UPDATE), RIG),
    "driver_too_old": Kind("The release needs a later driver", (CPU, UPDATE), RIG),
    "library_leaves_gpu_out": Kind("OLLAMA_LLM_LIBRARY names a library that is not for the GPU", (CPU, ONE_GPU), RIG),
    "pcie_narrow": Kind("The PCIe link has fewer lanes than the GPU", (SLOW,), RIG),
    "pcie_slow_under_load": Kind("The PCIe link stays slow while the GPU computes", (SLOW,), RIG),
    "nvlink_partly_down": Kind("Some NVLink connections are down", (SLOW, GARBAGE), RIG),
    "gpu_too_hot": Kind("Heat slows a GPU down", (SLOW,), RIG),
    "power_brake": Kind("The power supply slows a GPU down", (SLOW,), RIG),
    "power_limit_lowered": Kind("The power limit is below the board's default", (SLOW,), RIG),
    "ecc_errors": Kind("Memory errors that could not be corrected", (GARBAGE, ENDS), RIG),
    "memory_row_faulty": Kind("A faulty memory row waits for a reset, or cannot be replaced", (GARBAGE, ENDS), RIG),
    "recovery_wanted": Kind("The driver wants the GPU reset, or the host restarted", (ENDS, ONE_GPU), RIG),
    "xid": Kind("The kernel's log has faults (Xid) of a GPU", (GARBAGE, ENDS, ONE_GPU)),
    "persistence_off": Kind("The driver lets the GPU go when nobody uses it", (SLOW,), RIG),
    "vgpu_unlicensed": Kind("A virtual GPU has no licence", (SLOW, CPU)),
    "vgpu_profile": Kind("The profile of a virtual GPU is not for computing", (CPU,), RIG),
    # Settings of a server.
    "environment_not_applied": Kind("The process has other variables than unit and drop-ins", (UPDATE, ONE_GPU), RIG),
    "environment_not_planned": Kind("The process has other variables than the plan", (UPDATE, ONE_GPU), RIG),
    "unit_not_reloaded": Kind("systemd has not read the unit's files again", (UPDATE,), RIG),
    "visible_devices_none": Kind("CUDA_VISIBLE_DEVICES shows no GPU", (CPU,), RIG),
    "visible_devices_invalid": Kind("An entry of CUDA_VISIBLE_DEVICES names no GPU", (CPU, ONE_GPU, UPDATE), RIG),
    "visible_devices_fewer": Kind("CUDA_VISIBLE_DEVICES hides GPUs that no server uses", (ONE_GPU,), RIG),
    "visible_devices_by_index": Kind("CUDA_VISIBLE_DEVICES has numbers, which may move", (UPDATE, ONE_GPU), RIG),
    "vulkan_shows_hidden_gpu": Kind("Vulkan brings hidden GPUs back", (SLOW, UPDATE), RIG),
    "vulkan_instead_of_cuda": Kind("The server uses NVIDIA GPUs by Vulkan", (SLOW, UPDATE)),
    "kv_cache_without_kernel": Kind("CUDA has no fast attention for the type of the KV cache", (SLOW, CPU), RIG),
    "kv_cache_type_ignored": Kind("The type of the KV cache acts with flash attention only", (SLOW, CPU)),
    "value_not_understood": Kind("A variable has a value that Ollama reads otherwise", (UPDATE, ONE_GPU), RIG),
    "variable_without_effect": Kind("The release does not read a variable", (UPDATE, ONE_GPU), RIG),
    "peer_to_peer_on": Kind("Peer-to-peer copies are on, which corrupt answers on some boards", (GARBAGE,), RIG),
    "unified_memory_on": Kind("Models may overflow into the host's memory", (SLOW,), RIG),
    # What is installed, and what runs.
    "two_servers": Kind("Several servers use the same GPUs", (ONE_GPU, SLOW, CPU), RIG),
    "two_programs": Kind("Ollama is installed twice", (UPDATE, CPU), RIG),
    "mixed_libraries": Kind("A release was unpacked over an older one", (UPDATE, CPU), RIG),
    "cuda_library_missing": Kind("The release has no CUDA library", (CPU, UPDATE), RIG),
    "program_replaced": Kind("The server runs a program that was replaced", (UPDATE,)),
    "service_failed": Kind("A service has ended", (ENDS, UPDATE), RIG),
    "known_fault": Kind("The release has a known fault of placement", (SLOW, CPU)),
    "engine_left_behind": Kind("An engine without a server holds memory", (CPU, SLOW), RIG),
    # Where a model is.
    "started_without_gpu": Kind("The server has found no GPU at its start", (CPU, UPDATE), RIG),
    "server_misses_gpu": Kind("The server has found fewer GPUs than there are", (ONE_GPU, UPDATE), RIG),
    "model_on_cpu": Kind("A model holds nothing on any GPU", (CPU, SLOW), RIG),
    "layers_on_cpu": Kind("Layers of a model are on the CPU", (CPU, SLOW)),
    "layers_limited": Kind("num_gpu leaves layers on the CPU", (CPU, SLOW), RIG),
    "fits_on_one_gpu": Kind("The model fits on one GPU, so that it gets one", (ONE_GPU,), RIG),
    "main_gpu_given": Kind("main_gpu keeps the model on one GPU", (ONE_GPU,), RIG),
    "unbalanced_split": Kind("Equal GPUs hold unequal parts of a model", (ONE_GPU, SLOW), RIG),
    "context_of_the_tier": Kind("The context follows the memory of all GPUs", (CPU, SLOW, UPDATE)),
    "not_as_planned": Kind("An instance is not as its plan says", (ONE_GPU, CPU, SLOW, UPDATE), RIG),
    "draft_takes_memory": Kind("What proposes tokens holds memory that layers lack", (CPU, SLOW)),
    "out_of_gpu_memory": Kind("The engine found too little GPU memory", (ENDS, CPU)),
    "cuda_error": Kind("The engine met an error of CUDA", (ENDS, GARBAGE)),
    "foreign_tenant": Kind("Others hold GPU memory", (CPU, SLOW, ONE_GPU), RIG),
    # The host's memory.
    "swapped": Kind("A server or engine is partly in swap", (SLOW,)),
    "killed_for_memory": Kind("The kernel ended a server or engine for lack of memory", (ENDS,)),
    "host_memory_short": Kind("The host's memory is too small for the model's file", (SLOW,)),
    "page_cache": Kind("The page cache holds memory that the GPU shares", (CPU, SLOW)),
    # Answers, where models are asked.
    "answer_no_number": Kind("A model computes what is no number", (GARBAGE,), RIG),
    "answer_one_token": Kind("A model answers one token for ever", (GARBAGE,), RIG),
    "answer_unprintable": Kind("A model answers what cannot be printed", (GARBAGE,), RIG),
    "replicas_disagree": Kind("Servers with the same model begin their answers otherwise", (GARBAGE,), RIG),
    "vector_wrong": Kind("An embedding model gives no vector, or one of a wrong length", (GARBAGE,)),
}
