# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Known faults of Ollama's placement by version. A plan avoids them where it can, and names them.

They were found by running the releases' own functions (the recordings of 0.11.4 to 0.24.0) and by running 0.32.15. Each
entry: name, first version, last version (None = in all later versions that were read), what happens, workaround.
"""

from __future__ import annotations

from ..common.service_variables import Version

FAULTS = (
    (
        "context_not_clamped",
        (0, 0, 0),
        (0, 11, 4),
        "GPUs are chosen with the context as asked, not as the model allows",
        "set num_ctx to at most the trained context",
    ),
    (
        "num_gpu_takes_all_gpus",
        (0, 0, 0),
        (0, 12, 10),
        "with num_gpu above the number of layers the model never counts as fitting: all GPUs are taken "
        "(not for models of Ollama's own engine from 0.11.11)",
        "leave num_gpu out, or set it to exactly the number of layers",
    ),
    (
        "layers_permuted",
        (0, 11, 5),
        (0, 12, 10),
        "the right number of layers goes to each GPU, but perhaps not the layers that were counted",
        "use GPUs of one size, or 0.12.11 and later",
    ),
    (
        "context_on_every_gpu",
        (0, 11, 5),
        (0, 11, 7),
        "every runner takes about 300 MiB on every GPU that it sees",
        "show each instance its own GPUs only",
    ),
    (
        "endless_search",
        (0, 11, 5),
        (0, 24, 0),
        "with a forced num_gpu on GPUs that are nearly full the search for a layout never ends: 100 % CPU, and the "
        "model never loads",
        "leave num_gpu out",
    ),
    (
        "wrap_around",
        (0, 12, 11),
        (0, 13, 5),
        "a GPU with less free memory than one layer counts as 16 EiB and may get every layer",
        "hide that GPU from the instance, or use 0.14.0 and later",
    ),
    (
        "projector_not_counted",
        (0, 12, 11),
        (0, 24, 0),
        "a projector in a file of its own is not counted",
        "keep its size free on the first GPU with OLLAMA_GPU_OVERHEAD",
    ),
    (
        "one_gpu_engines_not_seen",
        (0, 30, 0),
        None,
        "what an engine that was given one GPU holds on a GPU other than index 0 is not seen: that GPU counts as empty "
        "and models pile up on it",
        "one instance per GPU",
    ),
)


def known_faults(version: Version) -> list[dict[str, str]]:
    """Faults of a version: list of {name, text, remedy}.

    Args:
        version: Ollama version as a tuple of three integers.
    """
    return [
        {"name": name, "text": text, "remedy": remedy}
        for name, first, last, text, remedy in FAULTS
        if first <= version and (last is None or version <= last)
    ]


def met(version: Version, *names: str) -> list[dict[str, str]]:
    """The known faults of a version with these names, for a decision's `faults`."""
    return [fault for fault in known_faults(version) if fault["name"] in names]
