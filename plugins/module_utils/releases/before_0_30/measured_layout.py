# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama's own engine is loaded, 0.11.5 to 0.24.

A layout is made, the runner measures it, and the next layout is made from that, until a layout repeats.

Source: llm/server.go, `ollamaServer.Load`, read at 0.11.10, 0.12.6, 0.12.10 and 0.24.0.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional, Sequence

from ...memory.weights import float32 as f32
from ..shapes import Gpu
from . import layout as layouts

LINEAR_BACKOFF_SINCE = (0, 12, 7)  # before, the share of memory left out starts at 1 % and doubles
OPERATIONS = ("fit", "alloc")


class CannotAllocate(layouts.LayoutError):
    """The runner could not allocate what the layout gives it; Ollama returns an error."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What a runner reports after it tried a layout.

    Attributes:
        success: whether the memory could be had.
        sizes: what it measured, with the graphs of all GPUs that it sees.
    """

    success: bool
    sizes: layouts.Sizes


Runner = Callable[[str, layouts.Layout], Report]  # (operation, layout); the operation is fit, alloc or commit


def load(rules: layouts.Rules, gpus: Sequence[Gpu], layer_count: int, runner: Runner) -> layouts.Layout:
    """Load a model.

    Args:
        rules: what the layout depends on beside sizes.
        gpus: list of dicts, see layout.create.
        layer_count: block_count + 1.
        runner: what measures a layout.

    Returns:
        the layout that is loaded.

    Raises:
        CannotAllocate, and what layout.create raises.
    """
    loading = _Loading(rules, gpus, runner)
    current = loading.lay_out(layouts.Sizes([0] * layer_count, {}))
    for operation in OPERATIONS:
        current = loading.settle(operation, current)
    if not runner("commit", current).success:
        raise CannotAllocate("failed to commit memory for model")
    return current


class _Loading:
    """One load: the share of memory left out so far, and the layouts seen."""

    def __init__(self, rules: layouts.Rules, gpus: Sequence[Gpu], runner: Runner):
        self.rules, self.gpus, self.runner = rules, gpus, runner
        self.backoff = 0.0
        self.seen: set[Any] = set()

    def lay_out(self, sizes: layouts.Sizes, num_gpu: Optional[int] = None) -> layouts.Layout:
        """A layout for these sizes."""
        return layouts.create(self.rules, self.gpus, sizes, self.backoff, num_gpu)

    def settle(self, operation: str, current: layouts.Layout) -> layouts.Layout:
        """Repeat one operation until its layout repeats and can be had."""
        while True:
            report = self.runner(operation, current)
            self.seen.add(layouts.identity(current))
            sizes, success = report.sizes, report.success
            while True:
                following = self.lay_out(sizes)
                more = layouts.layers_of(following) - layouts.layers_of(current)
                if layouts.identity(following) not in self.seen and more <= 0:
                    current = following
                    break
                if self.rules.num_gpu < 0 and more > 1:
                    between, success = self._between(operation, current, following, sizes)
                    if between is not None:
                        self.seen.clear()
                        return between
                if success:
                    return current
                self._back_off()

    def _back_off(self) -> None:
        """Leave a larger share of the free memory out, or give up."""
        if self.rules.num_gpu >= 0:
            raise CannotAllocate("memory layout cannot be allocated with num_gpu = %d" % self.rules.num_gpu)
        if self.backoff > 1:
            raise CannotAllocate("memory layout cannot be allocated")
        if self.rules.version >= LINEAR_BACKOFF_SINCE:
            self.backoff = f32(self.backoff + f32(0.1))
        else:
            self.backoff = f32(0.01) if not self.backoff else f32(self.backoff * 2)

    def _between(
        self, operation: str, current: layouts.Layout, following: layouts.Layout, sizes: layouts.Sizes
    ) -> tuple[Optional[layouts.Layout], bool]:
        """Try the numbers of layers between two layouts.

        Returns:
            (the layout that holds, or None; whether the last trial succeeded).
        """
        success = False
        for count in range(layouts.layers_of(following) - 1, layouts.layers_of(current) - 1, -1):
            trial = self.lay_out(sizes, count)
            report = self.runner(operation, trial)
            success = report.success
            if success and layouts.layers_of(trial) <= layouts.layers_of(self.lay_out(report.sizes)):
                return trial, success
        return None, success
