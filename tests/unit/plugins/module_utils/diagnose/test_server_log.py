# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read the lines of a server: those of the recordings of 0.32.15, and errors as llama.cpp prints them."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.server_log import read

START = 'time=2026-11-24T03:37:29.000Z level=INFO source=routes.go:2020 msg="server config" env="map[]"'
GPU = (
    'time=2026-11-24T03:37:29.552Z level=INFO source=types.go:32 msg="inference compute" id=0 filter_id=0 library=%s '
    'compute=8.6 name=CUDA0 description="NVIDIA RTX A6000" libdirs=ollama,cuda_v13 driver=13.0 pci_id=%s type=discrete '
    'total="48.0 GiB" available="47.4 GiB"'
)
NONE = (
    'time=2026-11-24T03:37:29.552Z level=INFO source=types.go:50 msg="inference compute" id=cpu library=cpu compute="" '
    'name=cpu description=cpu libdirs=ollama driver="" pci_id="" type="" total="23.5 GiB" available="23.1 GiB"'
)
TIER = (
    'time=2026-11-24T03:37:29.552Z level=INFO source=routes.go:2058 msg="vram-based default context" '
    'total_vram="96.0 GiB" default_num_ctx=262144'
)
MEMORY = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory"
)
ILLEGAL = "CUDA error: an illegal memory access was encountered"
MMAP = (
    "time=2026-11-24T03:37:29.552Z level=INFO source=llama_server.go:630 "
    'msg="disabling mmap for llama-server load due to host memory pressure"'
)


def test_the_gpus_that_were_found():
    log = read([START, GPU % ("CUDA", "0000:01:00.0"), GPU % ("Vulkan", '""'), TIER])
    assert [(one.library, one.pci_bus_id, one.description) for one in log.gpus] == [
        ("CUDA", "0000:01:00.0", "NVIDIA RTX A6000"),
        ("Vulkan", None, "NVIDIA RTX A6000"),
    ]
    assert log.default_context == 262144 and not log.problems


def test_none_found_is_not_unknown():
    assert read([START, NONE]).gpus == []
    assert read([START]).gpus is None and read([]).gpus is None


def test_only_the_last_start_counts():
    log = read([START, GPU % ("CUDA", "0000:01:00.0"), MEMORY, START, NONE])
    assert log.gpus == [] and not log.problems


def test_problems_are_counted_and_the_last_is_kept():
    log = read([START, MEMORY, MEMORY, ILLEGAL, MMAP, "CUDA error: out of memory"])
    assert log.problems == {
        "out_of_gpu_memory": ("CUDA error: out of memory", 3),
        "cuda_error": (ILLEGAL, 1),
        "host_memory_short": (MMAP, 1),
    }
