# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model that has no place, and the question whether a change would give it one."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional, Sequence

from ..ask.host_memory import HostMemory
from ..left_out import GpuFault, LeftOutGpu
from ..search import policy
from ..search.fitting import Fitting
from ..search.host import Host
from ..shapes import Choice, Gpu, Wanted

TRIES = 60  # of ways to place all models, for each remedy


@dataclasses.dataclass(frozen=True)
class Case:
    """A model on a host with other models, and the question whether a change would give it a place.

    Attributes:
        choices: of all models.
        choice: of the model in question.
        gpus: the GPUs that the plan may use.
        fitting: what a model takes.
        topology: facts of connections between GPUs.
        left_out: GPUs that are on the host and that the plan does not use.
        gpu_fault: why no model has a place until the GPUs are mended, or None.
        memory: the host's memory, or None where it is not known.
    """

    choices: tuple[Choice, ...]
    choice: Choice
    gpus: tuple[Gpu, ...]
    fitting: Fitting
    topology: Sequence[Any] = ()
    left_out: tuple[LeftOutGpu, ...] = ()
    gpu_fault: Optional[GpuFault] = None
    memory: Optional[HostMemory] = None

    @property
    def wanted(self) -> Wanted:
        """The model in question."""
        return self.choice.wanted

    @property
    def shared_memory(self) -> bool:
        """Whether all GPUs share the host's memory, so that neither the CPU nor another GPU gives a model more."""
        return bool(self.gpus) and all(gpu.unified for gpu in self.gpus)

    @property
    def may_run(self) -> bool:
        """Whether the host has anything that the model may run on."""
        return bool(self.gpus) or self.wanted.allow_cpu_offload

    def empty_host(self, gpus: Optional[Sequence[Gpu]] = None, memory: Optional[HostMemory] = None) -> Host:
        """The Host with no model on it.

        Args:
            gpus: others than those that the plan may use.
            memory: another memory than the host has.
        """
        return Host(self.gpus if gpus is None else gpus, self.topology, memory=memory or self.memory)

    def solved(
        self,
        gpus: Optional[Sequence[Gpu]] = None,
        fitting: Optional[Fitting] = None,
        memory: Optional[HostMemory] = None,
        **changes: Any,
    ) -> Optional[Choice]:
        """The choice for the model after a change; None if it, or another one that had a place, then has none.

        Args:
            gpus: the GPUs of the host.
            fitting: what a model takes.
            memory: the memory of the host.
            changes: fields of the wanted model.
        """
        name = self.wanted.create_as
        changed = dataclasses.replace(self.wanted, **changes)
        listed = [changed if one.wanted.create_as == name else one.wanted for one in self.choices]
        others = [one for one in self.choices if one.wanted.create_as != name]
        # Most often this model alone has no place: then it is all or nothing.
        complete = all(one.placements for one in others) and not any(one.allow_cpu_offload for one in listed)
        after, dummy = policy.choose(
            listed, self.empty_host(gpus, memory), fitting or self.fitting, tries=TRIES, all_or_none=complete
        )
        if after is None:
            return None
        now = {one.wanted.create_as: one for one in after}
        lost = any(before.placements and not now[before.wanted.create_as].placements for before in others)
        return now[name] if now[name].placements and not lost else None

    def largest(self, low: int, high: int, changes: Callable[[int], dict[str, Any]]) -> Optional[int]:
        """The largest number from low to high that solves it, or None.

        Args:
            changes: the fields of the wanted model for a number.
        """
        best = None
        while low <= high:
            middle = (low + high) // 2
            if self.solved(**changes(middle)):
                best, low = middle, middle + 1
            else:
                high = middle - 1
        return best
