# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama's own engine is loaded, 0.11.5 to 0.24: lay out, let the runner measure, lay out anew until it repeats.

Source: llm/server.go, `ollamaServer.Load`, read at 0.11.10, 0.12.6, 0.12.10 and 0.24.0.
"""

from __future__ import annotations

from ...memory.weights import float32 as f32
from . import layout as layouts

LINEAR_BACKOFF_SINCE = (0, 12, 7)  # before, the share of memory left out starts at 1 % and doubles
OPERATIONS = ("fit", "alloc")


class CannotAllocate(Exception):
    """The runner could not allocate what the layout gives it; Ollama returns an error."""


class Report:
    """What a runner says after it tried a layout.

    Args:
        success: whether the memory could be had.
        layers: bytes of every layer with its cache, the output layer last.
        graphs: position of the GPU -> bytes of its graph, for all GPUs that the runner sees.
        host_bytes: input weights and graph on the host.
    """

    def __init__(self, success, layers, graphs, host_bytes):
        self.success, self.layers, self.graphs, self.host_bytes = success, layers, graphs, host_bytes


def load(rules, gpus, layer_count, runner):
    """Load a model.

    Args:
        rules: layout.Rules.
        gpus: list of dicts, see layout.create.
        layer_count: block_count + 1.
        runner: function (operation, layout) -> Report; operation is fit, alloc or commit.

    Returns:
        the layout that is loaded.

    Raises:
        CannotAllocate, and what layout.create raises.
    """

    def lay_out(report, num_gpu=None):
        return layouts.create(rules, gpus, report.layers, report.graphs, report.host_bytes, state.backoff, num_gpu)

    state = _State()
    current = lay_out(Report(True, [0] * layer_count, {}, 0))
    for operation in OPERATIONS:
        current = _settle(rules, operation, current, runner, lay_out, state)
    if not runner("commit", current).success:
        raise CannotAllocate("failed to commit memory for model")
    return current


class _State:
    def __init__(self):
        self.backoff = 0.0
        self.seen = set()


def _settle(rules, operation, current, runner, lay_out, state):
    """Repeat one operation until its layout repeats and can be had."""
    while True:
        report = runner(operation, current)
        state.seen.add(layouts.identity(current))
        measured, success = report, report.success
        while True:
            following = lay_out(measured)
            if layouts.identity(following) not in state.seen and layouts.layers_of(following) <= layouts.layers_of(
                current
            ):
                current = following
                break
            if rules.num_gpu < 0 and layouts.layers_of(following) - layouts.layers_of(current) > 1:
                between, success = _intermediate(operation, current, following, runner, lay_out, measured, success)
                if between is not None:
                    state.seen.clear()
                    return between
            if success:
                return current
            if rules.num_gpu >= 0:
                raise CannotAllocate("memory layout cannot be allocated with num_gpu = %d" % rules.num_gpu)
            if state.backoff > 1:
                raise CannotAllocate("memory layout cannot be allocated")
            if rules.version >= LINEAR_BACKOFF_SINCE:
                state.backoff = f32(state.backoff + f32(0.1))
            else:
                state.backoff = f32(0.01) if not state.backoff else f32(state.backoff * 2)


def _intermediate(operation, current, following, runner, lay_out, measured, success):
    """Try the numbers of layers between two layouts: (the layout that holds, or None, whether the last trial succeeded)."""
    for count in range(layouts.layers_of(following) - 1, layouts.layers_of(current) - 1, -1):
        trial = lay_out(measured, count)
        report = runner(operation, trial)
        success = report.success
        if success and layouts.layers_of(trial) <= layouts.layers_of(lay_out(report)):
            return trial, success
    return None, success
