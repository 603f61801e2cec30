# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The GPUs of a host while models are placed: bytes left, headroom to keep, and which GPUs take another model."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence

from ..ask.applied import Applied
from ..ask.host_memory import HostMemory
from ..shapes import Gpu, GpuRoom, Placed, Wanted


@dataclasses.dataclass(frozen=True)
class Taken:
    """What the models of an instance on demand take at most: {UUID: bytes} on GPUs, and bytes of the host's memory."""

    gpu_bytes: dict[str, int]
    host_bytes: int


class Host:
    """The GPUs of a host and what the models planned so far leave on each of them.

    Args:
        gpus: the GPUs that the plan may use, in PCI order.
        topology: facts about connections between GPUs.
        applied: the Applied of the host, or None.
        memory: the host's own memory, or None where it is not known.

    Attributes:
        position: {UUID: place in PCI order}.
        left: {UUID: bytes left}.
        headrooms: {UUID: headroom of each model there}.
        host_bytes: what the models take of the host's memory, that of GPUs that share it as well.
        on_demand: for each instance of models on demand, what its largest takes. It is not in `left`.
    """

    def __init__(
        self,
        gpus: Sequence[Gpu],
        topology: Sequence[Any] = (),
        applied: Optional[Applied] = None,
        memory: Optional[HostMemory] = None,
    ) -> None:
        self.gpus = tuple(gpus)
        self.topology = topology
        self.applied = applied or Applied()
        self.memory = memory
        self.host_bytes = 0
        self.on_demand: tuple[Taken, ...] = ()
        self.position = {gpu.uuid: place for place, gpu in enumerate(self.gpus)}
        self.left = {gpu.uuid: gpu.available_bytes for gpu in self.gpus}
        self.headrooms: dict[str, list[int]] = {gpu.uuid: [] for gpu in self.gpus}

    def copy(self) -> Host:
        """The same host, to try something on."""
        other = Host(self.gpus, self.topology, self.applied, self.memory)
        other.host_bytes = self.host_bytes
        other.on_demand = self.on_demand
        other.left = dict(self.left)
        other.headrooms = {uuid: list(kept) for uuid, kept in self.headrooms.items()}
        return other

    def rooms(self, gpus: Sequence[Gpu]) -> tuple[GpuRoom, ...]:
        """These GPUs with the bytes that each has left."""
        return tuple(GpuRoom(gpu, self.left[gpu.uuid]) for gpu in gpus)

    def model_count(self, gpu: Gpu) -> int:
        """Number of models on a GPU at the same time; of an instance of models on demand one is there at a time."""
        return len(self.headrooms[gpu.uuid]) + sum(1 for one in self.on_demand if gpu.uuid in one.gpu_bytes)

    def spare_bytes(self, uuid: str) -> int:
        """Bytes that a GPU has left beside the models on demand."""
        return self.left[uuid] - sum(self._taken_there(one, uuid) for one in self.on_demand)

    @property
    def planned_host_bytes(self) -> int:
        """Bytes of the host's memory that all models take, those on demand among them."""
        return self.host_bytes + sum(one.host_bytes for one in self.on_demand)

    def _taken_there(self, taken: Taken, uuid: str) -> int:
        shared = any(gpu.unified for gpu in self.gpus if gpu.uuid == uuid)
        return taken.host_bytes if shared else taken.gpu_bytes.get(uuid, 0)

    def beside_on_demand(self, others: Sequence[Taken]) -> Host:
        """The host with these models on demand on it as well, to place another model on."""
        trial = self.copy()
        trial.on_demand = ()
        for gpu in self.gpus:
            trial.left[gpu.uuid] -= sum(self._taken_there(one, gpu.uuid) for one in others)
        trial.host_bytes += sum(one.host_bytes for one in others)
        return trial

    def open(self) -> list[Gpu]:
        """GPUs that can take a further process; one in exclusive compute mode takes only one."""
        return [gpu for gpu in self.gpus if not (gpu.exclusive and self.headrooms[gpu.uuid])]

    def joinable(self) -> list[Gpu]:
        """GPUs that can be part of a set.

        CUDA gives a process at most one MIG device, and a GPU that shares the host's memory adds none to it.
        """
        return [gpu for gpu in self.open() if not gpu.is_slice and not gpu.unified]

    def emptiest_first(self, gpus: Sequence[Gpu]) -> list[Gpu]:
        """These GPUs by the bytes that they have left, most first; equal ones in PCI order."""
        return sorted(gpus, key=lambda gpu: (-self.left[gpu.uuid], self.position[gpu.uuid]))

    def beside(self, wanted: Wanted, gpus: Sequence[Gpu]) -> Wanted:
        """The wanted model with the headroom that it must leave on these GPUs: also what the models there asked for."""
        headroom = max([wanted.headroom_bytes] + [kept for gpu in gpus for kept in self.headrooms[gpu.uuid]])
        if self.memory and any(gpu.unified for gpu in gpus):
            headroom = max(headroom, self.memory.headroom_bytes)  # what the host needs is kept free
        if headroom == wanted.headroom_bytes:
            return wanted
        return dataclasses.replace(wanted, headroom_bytes=headroom)

    def least_share_left(self) -> float:
        """The share of its memory that the fullest GPU has left; 1 without a GPU."""
        return min([self.left[gpu.uuid] / float(gpu.total_bytes or 1) for gpu in self.gpus] or [1.0])

    def take(self, placed: Placed) -> None:
        """Account for a model that was placed."""
        for device in placed.predicted.devices:
            if not device.gpu.unified:
                self.left[device.gpu.uuid] -= device.total_bytes
            self.headrooms[device.gpu.uuid].append(placed.predicted.headroom_bytes)
        self._take_of_host(taken_of_host(placed))

    def give_back(self, placed: Placed) -> None:
        """Undo `take`."""
        for device in placed.predicted.devices:
            if not device.gpu.unified:
                self.left[device.gpu.uuid] += device.total_bytes
            self.headrooms[device.gpu.uuid].remove(placed.predicted.headroom_bytes)
        self._take_of_host(-taken_of_host(placed))

    def _take_of_host(self, size: int) -> None:
        """Account for bytes of the host's memory, which GPUs that share it have less then."""
        self.host_bytes += size
        for gpu in self.gpus:
            if gpu.unified:
                self.left[gpu.uuid] -= size


def taken_of_host(placed: Placed) -> int:
    """Bytes of the host's memory that a model takes: on the host's side, and on GPUs that share that memory."""
    predicted = placed.predicted
    return predicted.host_total_bytes + sum(device.total_bytes for device in predicted.devices if device.gpu.unified)
