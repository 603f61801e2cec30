# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The GPUs of a host while models are put on them: what is left, who may still come, how much must stay free."""

from __future__ import annotations

from ..ask.applied import Applied


class Host:
    """The GPUs of a host and what the models planned so far leave on each of them.

    Args:
        gpus: usable GPUs of gpus.usable_gpus, in PCI order.
        topology: facts about connections between GPUs.
        applied: the Applied of the host, or None.
    """

    def __init__(self, gpus, topology=(), applied=None):
        self.gpus = gpus
        self.applied = applied or Applied()
        self.topology = topology
        self.left = {gpu["uuid"]: gpu["available_bytes"] for gpu in gpus}
        self.headrooms = {gpu["uuid"]: [] for gpu in gpus}

    def copy(self):
        """The same host, to try something on."""
        other = Host(self.gpus, self.topology, self.applied)
        other.left = dict(self.left)
        other.headrooms = {uuid: list(kept) for uuid, kept in self.headrooms.items()}
        return other

    def free(self, gpus):
        """Bytes that each of these GPUs has left."""
        return [self.left[gpu["uuid"]] for gpu in gpus]

    def served(self, gpu):
        """Number of models on a GPU."""
        return len(self.headrooms[gpu["uuid"]])

    def open(self):
        """GPUs that can take a further process: one in exclusive mode takes only one."""
        return [gpu for gpu in self.gpus if not (gpu["exclusive"] and self.served(gpu))]

    def joinable(self):
        """GPUs that can be part of a set; CUDA gives a process at most one MIG slice."""
        return [gpu for gpu in self.open() if not gpu["is_slice"]]

    def beside(self, wanted, gpus):
        """The wanted model with the headroom that it must leave on these GPUs: also what the models there asked for."""
        headroom = max([wanted["headroom_bytes"]] + [kept for gpu in gpus for kept in self.headrooms[gpu["uuid"]]])
        return wanted if headroom == wanted["headroom_bytes"] else dict(wanted, headroom_bytes=headroom)

    def fullest(self):
        """Least share of its memory that any GPU has left."""
        return min([self.left[gpu["uuid"]] / float(gpu["total_bytes"] or 1) for gpu in self.gpus] or [1.0])

    def take(self, placed):
        """Account for a model that was placed."""
        for device in placed["predicted"]["devices"]:
            self.left[device["uuid"]] -= device["total_bytes"]
            self.headrooms[device["uuid"]].append(placed["predicted"]["headroom_bytes"])

    def give_back(self, placed):
        """Undo `take`."""
        for device in placed["predicted"]["devices"]:
            self.left[device["uuid"]] += device["total_bytes"]
            self.headrooms[device["uuid"]].remove(placed["predicted"]["headroom_bytes"])
