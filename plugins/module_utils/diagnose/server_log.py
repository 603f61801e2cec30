# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read what a server has logged since its start. Pure: lines in, data out.

The lines are those of Ollama: discover/types.go (LogDetails) and server/routes.go at 0.12.11 to 0.32.15; those of
errors are llama.cpp's (ggml-cuda.cu) and llm/llama_server.go's.
"""

from __future__ import annotations

import re

from .shapes import ServerGpu, ServerLog

_FIELD = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_COMPUTE = 'msg="inference compute"'
#: Written once at each start, before the GPUs are looked for.
_START = 'msg="server config"'
_CONTEXT = re.compile(r'msg="vram-based default context".*default_num_ctx=(\d+)')
_CPU = "cpu"
#: Kind of finding -> what its lines have.
_PROBLEMS = (
    ("out_of_gpu_memory", re.compile(r"cudaMalloc failed: out of memory|CUDA error: out of memory")),
    (
        "cuda_error",
        re.compile(r"CUDA error(?:: (?!out of memory)|\s*$)|CUDA-capable device\(s\) is/are busy or unavailable"),
    ),
    ("host_memory_short", re.compile(r"disabling mmap for llama-server load due to host memory pressure")),
)


def read(lines: list[str]) -> ServerLog:
    """Return what a server has logged.

    Args:
        lines: of its journal, from the start of its process on. What is before its last start does not count.
    """
    starts = [number for number, line in enumerate(lines) if _START in line]
    own = lines[starts[-1] :] if starts else lines
    gpus: list[ServerGpu] | None = None
    context = None
    problems: dict[str, tuple[str, int]] = {}
    for line in own:
        if _COMPUTE in line:
            fields = {name: quoted or bare for name, quoted, bare in _FIELD.findall(line)}
            gpus = gpus or []
            if fields.get("library", "").lower() != _CPU:
                gpus.append(
                    ServerGpu(
                        fields.get("library", ""),
                        fields.get("pci_id") or None,
                        fields.get("description") or fields.get("name", ""),
                    )
                )
        match = _CONTEXT.search(line)
        if match:
            context = int(match.group(1))
        for kind, words in _PROBLEMS:
            if words.search(line):
                problems[kind] = (line, problems.get(kind, ("", 0))[1] + 1)
    return ServerLog(gpus=gpus, default_context=context, problems=problems)
