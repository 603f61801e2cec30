# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The ways in which one model can be put on a host as it is: best first. The host is not changed."""

from __future__ import annotations

import dataclasses
from typing import Iterator, Optional, Sequence

from ...memory import adapters
from ...releases import llama_fit
from ..ask.applied import KEEP_SHARE, KEEP_SPLIT, InForce
from ..shapes import AUTO, CPU, PARTIAL, SINGLE, SPLIT, Gpu, GpuRoom, Layout, Placed, Predicted, Wanted
from . import confirm, host_room, layers, subsets
from .fitting import Fitting
from .host import Host


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to place a model: the strategy, why it is taken, and the placement."""

    strategy: str
    reason: str
    placed: Placed


def place(
    wanted: Wanted, gpus: Sequence[Gpu], host: Host, fitting: Fitting, context_length: Optional[int] = None
) -> Placed:
    """Put a model on these GPUs beside what the host holds already.

    A model that runs there already may have lost a part of its headroom, and keeps its layers and its batch while they
    fit. The host's own memory must hold its part as well.
    """
    placed = _place(wanted, gpus, host, fitting, context_length)
    # Of a GPU that shares the host's memory, the shortfall says already whether that is enough.
    return placed if any(gpu.unified for gpu in gpus) else host_room.held_by_host(placed, host)


def _place(wanted: Wanted, gpus: Sequence[Gpu], host: Host, fitting: Fitting, context_length: Optional[int]) -> Placed:
    context_length = context_length or wanted.context_length
    running = _in_force(wanted, gpus, host, context_length)
    attempt = _Attempt(fitting, host.beside(wanted, gpus), host.rooms(gpus), context_length, running)
    if running.split_is_set:
        kept = attempt.with_layers_kept(wanted.ubatch or running.batch)
        if kept:
            return dataclasses.replace(kept, batch=running.batch)
    placed = attempt.placed(wanted.ubatch)
    if running.batch and (placed.shortfall_bytes or not has_reserve(placed)):
        kept = attempt.placed(running.batch)
        if not kept.shortfall_bytes:
            return dataclasses.replace(kept, batch=running.batch)
    return placed


def _in_force(wanted: Wanted, gpus: Sequence[Gpu], host: Host, context_length: int) -> InForce:
    """What a model that runs there keeps. Of the host's headroom it may have lost a part as of its own."""
    asked = host.beside(wanted, gpus) if any(gpu.unified for gpu in gpus) else wanted
    return host.applied.in_force(asked, gpus, context_length)


@dataclasses.dataclass(frozen=True)
class _Attempt:
    """One model on one set of GPUs, where `running` may be in force."""

    fitting: Fitting
    wanted: Wanted
    rooms: tuple[GpuRoom, ...]
    context_length: int
    running: InForce

    def placed(self, ubatch: Optional[int]) -> Placed:
        """As the release would place it, but with the layers that are in force where these fit as well."""
        terms = layers.Terms(len(self.rooms) > 1, self.running.allowance_bytes, self.running.layers is not None)
        placed = layers.place(self.fitting, self._asked(ubatch), self.rooms, self.context_length, terms)
        if placed.shortfall_bytes or placed.batch:
            return placed
        kept = self._predicted_as_now(ubatch)
        if kept is None or not _alike(placed.predicted, kept):
            return placed
        return dataclasses.replace(placed, predicted=kept)

    def with_layers_kept(self, ubatch: Optional[int]) -> Optional[Placed]:
        """With exactly the layers that are in force, which the plan sets; None where they do not fit."""
        kept = self._predicted_as_now(ubatch)
        return Placed(kept, _outcome(self.rooms), split_is_set=True) if kept else None

    def _predicted_as_now(self, ubatch: Optional[int]) -> Optional[Predicted]:
        """What the model takes with the layers that are in force; None where there are none or they do not fit."""
        if not self.running.layers:
            return None
        kept = self.fitting.predict(self._asked(ubatch), self.rooms, self.context_length, Layout(self.running.layers))
        fit = not kept.shortfall(self.running.allowance_bytes) and kept.layers == self.running.layers
        return kept if fit else None

    def _asked(self, ubatch: Optional[int]) -> Wanted:
        return self.wanted if ubatch == self.wanted.ubatch else dataclasses.replace(self.wanted, ubatch=ubatch)


def _outcome(gpus: Sequence[object]) -> str:
    return SPLIT if len(gpus) > 1 else SINGLE


def _alike(one: Predicted, other: Predicted) -> bool:
    """Whether two ways to split a model over the same GPUs differ by a layer, or by little of the GPUs' memory."""
    before = {device.gpu.uuid: device for device in other.devices}
    pairs = [(device, before[device.gpu.uuid]) for device in one.devices]
    if max(abs(device.layers - same.layers) for device, same in pairs) <= 1:
        return True
    shares = [abs(device.total_bytes - same.total_bytes) / float(device.gpu.total_bytes) for device, same in pairs]
    return max(shares) <= KEEP_SPLIT


def fits(
    wanted: Wanted, gpus: Sequence[Gpu], host: Host, fitting: Fitting, context_length: Optional[int] = None
) -> Optional[Placed]:
    """What `place` gives if the model fits there, else None: quicker where it is far from fitting."""
    if fitting.refused_set(gpus):
        return None
    context_length = context_length or wanted.context_length
    allowance = _in_force(wanted, gpus, host, context_length).allowance_bytes
    if not fitting.may_fit(host.beside(wanted, gpus), host.rooms(gpus), context_length, allowance):
        return None
    placed = place(wanted, gpus, host, fitting, context_length)
    return None if placed.shortfall_bytes else placed


def leaves_layers(wanted: Wanted) -> bool:
    """Whether the user's num_gpu leaves layers on the CPU, whatever the GPUs could hold."""
    return wanted.num_gpu is not None and 0 <= wanted.num_gpu <= wanted.facts.block_count


def all_ways(wanted: Wanted, host: Host, fitting: Fitting, alone: bool) -> Iterator[Way]:
    """Ways with all layers on GPUs that fit, best first.

    Args:
        alone: whether it is the only model of the host.
    """
    if leaves_layers(wanted):
        return
    asked = wanted.strategy
    if asked == AUTO:
        yield from _auto(wanted, host, fitting, alone)
        return
    reason = "strategy %s was asked for" % asked
    if asked == "spread":
        members = everything(wanted, host, fitting)
        placed = fits(wanted, members, host, fitting) if members else None
        if placed:
            yield Way(asked, reason, placed)
    else:
        for placed in (splits if asked == "split" else singles)(wanted, host, fitting):
            yield Way(asked, reason, placed)


def _auto(wanted: Wanted, host: Host, fitting: Fitting, alone: bool) -> Iterator[Way]:
    alone = alone and wanted.resident
    strategy = "replicate" if alone or (wanted.replicas or 1) > 1 else "single"
    reason = "it fits on one GPU" + (" and is the only model of the host" if alone else "")
    found = False
    for placed in singles(wanted, host, fitting):
        if not found and not has_reserve(placed):
            # It is split now. It moves to one GPU only if that has enough memory for it to stay there.
            for kept in kept_splits(wanted, host, fitting):
                yield Way("split", "it is split already, and one GPU would have hardly any memory left", kept)
        found = True
        yield Way(strategy, reason, placed)
    reason = (
        "together with the other models no single GPU has room for it" if found else "no single GPU has room for it"
    )
    for placed in splits(wanted, host, fitting):
        yield Way("split", reason, placed)


def has_reserve(placed: Placed) -> bool:
    """Whether every GPU keeps so much beside the headroom that small changes of the free memory do not matter."""
    kept = placed.predicted.headroom_bytes
    return all(device.spare_bytes - kept >= KEEP_SHARE * device.gpu.total_bytes for device in placed.predicted.devices)


def singles(wanted: Wanted, host: Host, fitting: Fitting, exclude: Sequence[str] = ()) -> Iterator[Placed]:
    """Single GPUs that hold the model, the one with the largest share left first.

    One that serves it now comes first if it has hardly less left.

    Args:
        exclude: UUIDs of GPUs not to try.
    """
    serving = [uuids[0] for uuids in host.applied.gpu_sets(wanted.create_as) if len(uuids) == 1]
    found = []
    for gpu in host.open():
        if gpu.uuid in exclude:
            continue
        placed = fits(wanted, [gpu], host, fitting)
        if not placed:
            continue
        left = (host.left[gpu.uuid] - placed.predicted.total_bytes) / float(gpu.total_bytes)
        if gpu.uuid in serving:
            left += KEEP_SHARE
        rank = (bool(gpu.degraded) and gpu.uuid not in serving, -left, host.position[gpu.uuid])
        found.append((rank, placed))
    for dummy, placed in sorted(found, key=lambda item: item[0]):
        yield placed


def splits(wanted: Wanted, host: Host, fitting: Fitting) -> Iterator[Placed]:
    """Sets of at least two GPUs that hold the model: the smallest first.

    The set that serves the model now comes before others of its size.
    """
    size = None
    least = fitting.bare_bytes(wanted, wanted.context_length)
    for members in subsets.candidates(host.joinable(), host.left, host.topology, fitting.release.most_gpus, least):
        if len(members) != size:
            size = len(members)
            yield from kept_splits(wanted, host, fitting, size)
        placed = fits(wanted, members, host, fitting)
        if placed:
            yield placed


def kept_splits(wanted: Wanted, host: Host, fitting: Fitting, size: Optional[int] = None) -> Iterator[Placed]:
    """The sets of GPUs (of this size) that serve the model now, if they still hold it."""
    for uuids in host.applied.gpu_sets(wanted.create_as):
        members = [gpu for gpu in host.joinable() if gpu.uuid in uuids]
        if len(members) == len(uuids) > 1 and size in (None, len(members)):
            placed = fits(wanted, members, host, fitting)
            if placed:
                yield placed


def spread(wanted: Wanted, host: Host, fitting: Fitting) -> Optional[Placed]:
    """All GPUs together, whether the model fits or not; with only one GPU that one. None without a GPU."""
    members = everything(wanted, host, fitting)
    return place(wanted, members, host, fitting) if members else None


def everything(wanted: Wanted, host: Host, fitting: Fitting) -> list[Gpu]:
    """All GPUs that one process can use together, in PCI order; where they are too many, those with most left.

    GPUs that serve the model now come first, so that a set stays as it is. CUDA gives a process one MIG device.
    """
    gpus = host.joinable()
    if not gpus:
        return host.emptiest_first(host.open())[:1]
    serving = {uuid for uuids in host.applied.gpu_sets(wanted.create_as) for uuid in uuids}
    order = sorted(host.emptiest_first(gpus), key=lambda gpu: gpu.uuid not in serving)
    sets = []
    for libraries in dict.fromkeys(gpu.libraries for gpu in order):
        alike = [gpu for gpu in order if gpu.libraries == libraries]
        members: list[Gpu] = []
        for gpu in alike + [gpu for gpu in order if gpu not in alike]:
            if not fitting.refused_set([*members, gpu]):
                members.append(gpu)
        sets.append(members)
    most = max(sets, key=lambda members: sum(host.left[gpu.uuid] for gpu in members))
    return sorted(most, key=lambda gpu: host.position[gpu.uuid])


def closest_split(wanted: Wanted, host: Host, fitting: Fitting) -> Optional[Placed]:
    """The best set of at least two GPUs that holds the model, or else the one that comes closest to it.

    Of the sets that do not hold it, only the emptiest of each size are tried. None without two GPUs.
    """
    found = next(splits(wanted, host, fitting), None)
    if found:
        return found
    emptiest = [gpu.uuid for gpu in host.emptiest_first(host.joinable())]
    attempts = []
    for size in range(2, min(len(emptiest), fitting.release.most_gpus) + 1):
        members = [gpu for gpu in host.gpus if gpu.uuid in emptiest[:size]]
        if fitting.refused_set(members):
            continue
        attempts.append(place(wanted, members, host, fitting))
    return min(attempts, key=lambda placed: placed.shortfall_bytes) if attempts else None


def emptiest_single(wanted: Wanted, host: Host, fitting: Fitting) -> Optional[Placed]:
    """The GPU with the most bytes left, whether the model fits or not; None without a GPU."""
    gpus = host.emptiest_first(host.open())
    return place(wanted, gpus[:1], host, fitting) if gpus else None


def closest(wanted: Wanted, host: Host, fitting: Fitting) -> Optional[Placed]:
    """The attempt with the least shortfall, to explain why a model does not fit."""
    several = len(host.joinable())
    attempts = []
    if wanted.strategy in (AUTO, "single", "replicate") or several < 2:
        attempts.append(emptiest_single(wanted, host, fitting))
    if wanted.strategy not in ("single", "replicate") and several > 1:
        attempts.append(spread(wanted, host, fitting))
        if wanted.strategy != "spread" and several > 2:
            attempts.append(closest_split(wanted, host, fitting))
    return min((one for one in attempts if one), key=lambda placed: placed.shortfall_bytes, default=None)


def offload(wanted: Wanted, host: Host, fitting: Fitting) -> Placed:
    """Part of the layers on the CPU: what the release itself leaves on the GPUs, or the CPU alone.

    With a shortfall where the host's memory does not hold its part.
    """
    return host_room.held_by_host(_offload(wanted, host, fitting), host)


def _offload(wanted: Wanted, host: Host, fitting: Fitting) -> Placed:
    members = everything(wanted, host, fitting)
    if wanted.strategy in ("single", "replicate") and members:
        members = host.emptiest_first(members)[:1]
    context = wanted.context_length
    while members and wanted.num_gpu != 0 and not fitting.lacks_flash(wanted, members):
        beside, rooms = host.beside(wanted, members), host.rooms(members)
        layout, reserve = _own_layout(beside, rooms, context, fitting)
        if not layout.gpu_layers:
            break
        predicted = fitting.predict(beside, rooms, context, layout)
        used = [device.gpu for device in predicted.devices if device.weight_bytes]
        if len(used) < len(members):
            members = used  # a GPU without a layer would only hold a context, and verification would miss it
            continue
        outcome = PARTIAL
        if predicted.fully_on_gpu:
            outcome = SPLIT if sum(1 for count in layout.layers or () if count) > 1 else SINGLE
        return Placed(predicted, outcome, reserve_bytes=reserve)
    return Placed(fitting.predict(host.beside(wanted, []), [], context), CPU)


def _own_layout(wanted: Wanted, rooms: Sequence[GpuRoom], context: int, fitting: Fitting) -> tuple[Layout, int]:
    """(the layout that the release itself would choose, the bytes that it must be told to leave free)."""
    bare = fitting.predict(wanted, rooms, context)
    num_gpu = wanted.num_gpu if (wanted.num_gpu or -1) >= 0 else None
    if not fitting.release.layers_can_be_set:
        return confirm.partial_layout(fitting, wanted, bare, num_gpu)
    beside = wanted.facts.projector_bytes + adapters.total_bytes(wanted.facts)  # the engine's fit counts neither
    margin = max(llama_fit.MARGIN_BYTES, wanted.headroom_bytes) + beside
    flash = fitting.flash_attention(wanted, [room.gpu for room in rooms])
    fitted = llama_fit.fit(
        wanted.facts,
        [device.room_bytes - device.overhead_bytes for device in bare.devices],
        fitting.load(wanted, context, bare.ubatch, flash != "off"),
        llama_fit.FitOptions(gpu_layers=num_gpu, margins=[margin] * len(rooms)),
    )
    return Layout(tuple(fitted.layers), sum(fitted.layers), fitted.moved), 0
