# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The metrics of a host, from what a check has seen of it. What is not known gives no series. Pure."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Optional

from ..common.gpu_devices import with_mig_devices
from ..common.missing_gpus import missing_gpus
from ..common.names import served_name
from ..diagnose.gpu_condition import HARDWARE_XIDS, gpu_at, xids
from ..evidence.planned import planned_uuids
from ..evidence.shapes import FAIL, PASS, UNPROVEN, Evidence
from ..gpu import schema
from ..gpu.health import SLOWED
from .metrics_text import Number, label_value
from .verdicts import verdicts
from .version import VERSION

#: As records of the history and verdicts have their times.
_TIME = "%Y-%m-%dT%H:%M:%SZ"
#: Fields of the evidence of a model on a GPU, which are None where they are not known.
_MEMORY = ("predicted_bytes", "observed_bytes", "least_bytes", "most_bytes")


@dataclass(frozen=True)
class Source:
    """What the metrics of a host are made from.

    Attributes:
        plan: of the host.
        evidence: for it.
        inventory: the fact `gpu_inventory` that the evidence was made from.
        time: of the check.
        kernel_lines: of host/kernel_log.py, None where they cannot be read.
        proof: the record of the plan in force (host/history.py); None where there is none.
        interval: seconds between two checks, 0 for none.
    """

    plan: dict[str, Any]
    evidence: Evidence
    inventory: dict[str, Any]
    time: datetime.datetime
    kernel_lines: Optional[list[str]] = None
    proof: Optional[dict[str, Any]] = None
    interval: int = 0


class _Samples(dict[str, dict[tuple[str, ...], Number]]):
    """Samples as metrics_text.Samples has them."""

    def add(self, key: str, value: Any, *labels: Any) -> None:
        """Add a sample, unless its value is not known."""
        if value is not None:
            self.setdefault(key, {})[tuple(map(label_value, labels))] = value


def samples(source: Source) -> dict[str, dict[tuple[str, ...], Number]]:
    """Return all samples of a host."""
    found = _Samples()
    _of_host(source, found)
    _of_models(source, found)
    _of_proof(source, found)
    found.add("gpus_readable", _is_readable(source.inventory))
    if _is_readable(source.inventory):
        _of_planned_gpus(source, found)
        for gpu in source.inventory.get("gpus") or []:
            _of_gpu(gpu, found)
        _of_kernel(source, found)
    return found


def _is_readable(inventory: dict[str, Any]) -> bool:
    """Whether the driver has said which GPUs there are; none is an answer too."""
    return inventory.get("state") in (schema.OK, schema.NO_DEVICES)


def _of_host(source: Source, found: _Samples) -> None:
    found.add("program_info", 1, VERSION, source.plan.get("ollama_version"))
    for verdict in (PASS, FAIL, UNPROVEN):
        found.add("verdict", int(source.evidence.verdict == verdict), verdict)
    found.add("verdict_timestamp_seconds", int(source.time.timestamp()))
    found.add("check_interval_seconds", source.interval or None)
    for name, of_instance in verdicts(source.evidence).items():
        for verdict in (PASS, FAIL, UNPROVEN):
            found.add("instance_verdict", int(of_instance == verdict), name, verdict)


def _of_models(source: Source, found: _Samples) -> None:
    resident = {
        (instance["name"], served_name(model)): model.get("resident", True)
        for instance in source.plan["instances"]
        for model in instance["models"]
    }
    for instance in source.evidence.instances:
        for model in instance.models:
            stays = resident.get((instance.name, model.name), True)
            loaded = [check.passed for check in model.checks if check.name == "loaded"]
            # A model whose GPUs are gone is not looked for; one that is loaded on demand may be absent.
            state = None if not loaded else int(loaded[0] is True)
            found.add("model_loaded", state, instance.name, model.name, "true" if stays else "false")
            for device in model.devices:
                for field in _MEMORY:
                    found.add("gpu_" + field, getattr(device, field), device.uuid, instance.name, model.name)


def _of_proof(source: Source, found: _Samples) -> None:
    proof = source.proof or {}
    for instance, models in (proof.get("tokens_per_second") or {}).items():
        for model, rate in models.items():
            found.add("proof_tokens_per_second", rate, instance, model)
    try:
        time = datetime.datetime.strptime(proof.get("time") or "", _TIME)
    except ValueError:
        return
    found.add("proof_timestamp_seconds", int(time.replace(tzinfo=datetime.timezone.utc).timestamp()))


def _of_planned_gpus(source: Source, found: _Samples) -> None:
    for instance in source.plan["instances"]:
        for model in instance["models"]:
            missing = missing_gpus(planned_uuids(model), source.inventory)
            for uuid in planned_uuids(model):
                found.add("gpu_present", int(uuid not in missing), uuid)


def _of_gpu(gpu: dict[str, Any], found: _Samples) -> None:
    """What NVML says of a GPU. Its MIG devices have memory of their own, and nothing else."""
    uuid, ecc = gpu.get("uuid"), gpu.get("ecc") or {}
    if not uuid:
        return
    for device in with_mig_devices(gpu):
        if not device.get("uuid"):
            continue  # NVML does not tell it: no series can name the device
        memory = device.get("memory") or {}
        found.add("gpu_info", 1, device.get("uuid"), device.get("name") or "", gpu.get("pci_bus_id") or "")
        found.add("gpu_memory_total_bytes", memory.get("total_bytes"), device.get("uuid"))
        found.add("gpu_memory_used_bytes", memory.get("used_bytes"), device.get("uuid"))
    found.add("gpu_temperature_celsius", gpu.get("temperature_celsius"), uuid)
    found.add("gpu_slowdown_temperature_celsius", gpu.get("slowdown_temperature_celsius"), uuid)
    unknown = {*(gpu.get("unsupported") or []), *(gpu.get("errors") or {})}
    reasons = None if "throttle_reasons" in unknown else gpu.get("throttle_reasons")
    for reason in SLOWED:
        found.add("gpu_throttled", None if reasons is None else int(reason in reasons), uuid, reason)
    found.add("gpu_ecc_uncorrected_errors_total", ecc.get("uncorrected_volatile"), uuid)
    found.add("gpu_ecc_uncorrected_lifetime_errors_total", ecc.get("uncorrected_aggregate"), uuid)


def _of_kernel(source: Source, found: _Samples) -> None:
    """Messages of the kernel. A GPU that the driver lists no more has the address of the message and no UUID."""
    if source.kernel_lines is None:
        return
    gpus = [gpu for gpu in source.inventory.get("gpus") or [] if gpu.get("uuid")]
    counts = {(gpu["uuid"], gpu.get("pci_bus_id") or "", code): 0 for gpu in gpus for code in HARDWARE_XIDS}
    for (address, code), times in xids(source.kernel_lines).items():
        gpu = gpu_at(address, gpus) or {}
        key = (gpu.get("uuid", ""), gpu.get("pci_bus_id") or address, code)
        counts[key] = counts.get(key, 0) + times
    for labels, times in sorted(counts.items()):
        found.add("gpu_xid_messages", times, *labels)
