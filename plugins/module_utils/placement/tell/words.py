# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Parts of sentences that reasons, remedies and warnings share."""

from __future__ import annotations

from ...common.sizes import gib
from ..shapes import Predicted


def on_cpu(predicted: Predicted) -> str:
    """How a model runs that is not wholly on GPUs: "with 60 of 81 layers on GPUs and the rest on the CPU"."""
    layers, total = predicted.gpu_layers, predicted.total_layers
    if not layers:
        return "on the CPU alone"
    if layers < total:
        return "with %d of %d layers on GPUs and the rest on the CPU" % (layers, total)
    return "with all %d layers on GPUs, but with %s of the weights on the CPU" % (total, gib(predicted.host_bytes))
