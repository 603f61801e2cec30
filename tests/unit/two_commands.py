# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What `status` and `diagnose` say of a planned host that has one fault, as README and guide show it.

Both commands judge the same evidence: what NVML, the engine and its log say of the host, with the plan beside it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose import diagnosis
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.shapes import HostEvidence
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Evidence, Observations
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.health import assess
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.schema import Gpu
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.status_lines import status_lines

from tests import shown
from tests.unit.plugins.module_utils.diagnose import builders as of_host
from tests.unit.plugins.module_utils.evidence import builders as of_plan
from tests.unit.plugins.module_utils.evidence.builders import GIB, MIB, OVERHEAD, PID, UNIT, A, B

#: Bytes of a small and of a large model on each of two GPUs.
SMALL, LARGE = 237 * MIB, 32 * GIB
OTHER = {"pid": 4711, "name": "python3", "used_bytes": 9 * GIB, "unit": "batch.service", "type": "compute"}
HEAT = "hardware_thermal_slowdown"


# -- the guide ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """What the guide says of a fault: the cells of a row, as they are written."""

    status: str
    diagnose: str
    remedy: str

    @property
    def verdict(self) -> str:
        """The first word of what `status` says."""
        return re.split(r"\W", self.status)[0]

    @property
    def failed(self) -> set[str]:
        """The findings that `status` has."""
        return names(self.status) - {"degraded"}

    @property
    def findings(self) -> list[tuple[str, str]]:
        """The findings that `diagnose` has, with their confidence."""
        return re.findall(r"``(\w+)`` \((\w+)\)", self.diagnose)


def rows() -> dict[str, Row]:
    """{fault: what the guide says of it}."""
    text = shown.pages()["diagnose"].read_text(encoding="utf-8")
    table = text.split(".. list-table:: What the two commands said\n")[1].split("\nIn the first two rows")[0]
    found = re.findall(r"^   \* - (.+)\n     - (.+)\n     - (.+)\n     - (.+)$", table, re.MULTILINE)
    return {fault: Row(*cells) for fault, *cells in found[1:]}


def names(text: str) -> set[str]:
    """What a text of the guide writes as code."""
    return set(re.findall(r"``([a-z_]+)``", text))


# -- a host ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Host:
    """A host with a plan: what the proof sees, and the whole of what the diagnosis sees."""

    plan: dict[str, Any]
    seen: Observations
    diagnosed: HostEvidence

    @property
    def proof(self) -> Evidence:
        """What the comparison with the plan says."""
        return check_plan(self.plan, self.seen)

    def status(self) -> list[str]:
        """The lines of `status` below its head."""
        return [line.text for line in status_lines(self.proof, self.seen.inventory, self.plan)]

    def findings(self) -> list[Any]:
        """The findings of `diagnose`."""
        return diagnosis.findings(dataclasses.replace(self.diagnosed, proof=self.proof))

    def diagnose(self) -> list[str]:
        """The lines of `diagnose` about its findings."""
        evidence = dataclasses.replace(self.diagnosed, proof=self.proof)
        return diagnosis.lines(evidence, diagnosis.findings(evidence))


def well(share: int) -> tuple[dict[str, Any], Observations]:
    """A plan of one model over two GPUs, with as many bytes on each, and a host that is as planned."""
    plan = of_plan.plan({A: share, B: share})
    held = {uuid: share + OVERHEAD for uuid in (A, B)}
    each = {"CUDA0": share, "CUDA1": share}
    compute = dict.fromkeys(each, min(GIB, share // 8))
    log = of_plan.log(dict(each, CPU_Mapped=550 * MIB), dry_run=each, compute=compute)
    return plan, of_plan.observations(held, log=log)


def host(change: Callable[[Observations], object] = lambda seen: None, share: int = SMALL) -> Host:
    """The host after a change of what is seen."""
    plan, seen = well(share)
    change(seen)
    facts = [dict(of_host.gpu(of_host.A, 0), **one) for one in seen.inventory["gpus"]]
    observed = seen.instances["gpu0-1"].models[of_plan.NAME]
    engine = of_host.Engine(
        process=observed.engine,
        log=observed.log,
        held={one["uuid"]: own["used_bytes"] for one in facts for own in one["processes"] if own["pid"] == PID},
        loaded=dict(observed.ps, size=2 * share, size_vram=2 * share),
    )
    found = of_host.ServerLog(gpus=[of_host.ServerGpu("CUDA", of_plan.PCI[uuid]) for uuid in (A, B)])
    (instance,) = plan["instances"]
    server = of_host.server(
        instance["environment"], name=UNIT, pid=4200, engines=(engine,), planned=instance, log=found
    )
    inventory = of_host.inventory(gpus=facts, topology=[])
    return Host(plan, seen, of_host.host(inventory=inventory, servers=(server,), under_load={}))


# -- the faults --------------------------------------------------------------------------------------------------------


def another_process(seen):
    """A process outside the plan holds memory of the first GPU."""
    of_plan.join(seen, 0, dict(OTHER))


def too_hot(seen):
    """The driver lowers the clocks of the first GPU."""
    (fact, _second) = seen.inventory["gpus"]
    fact.update(throttle_reasons=[HEAT], temperature_celsius=94)
    fact["health"] = dataclasses.asdict(assess(Gpu(uuid=A, index=0, throttle_reasons=[HEAT])))


def on_the_cpu(seen):
    """The engine holds no memory of a GPU, and computes on none."""
    for fact in seen.inventory["gpus"]:
        fact["processes"].clear()
        fact["memory"].update(used_bytes=0, free_bytes=fact["memory"]["total_bytes"])
    _observed(seen, busy_processes={}, utilization_peak={A: 0, B: 0})


def on_one_gpu(seen):
    """The first GPU holds the whole small model, because the request that loaded it had main_gpu."""
    for number, size in enumerate((2 * SMALL + OVERHEAD, OVERHEAD)):
        fact = seen.inventory["gpus"][number]
        fact["processes"][0]["used_bytes"] = fact["memory"]["used_bytes"] = size
        fact["memory"]["free_bytes"] = fact["memory"]["total_bytes"] - size
    engine = seen.instances["gpu0-1"].models[of_plan.NAME].engine
    arguments = [*engine.arguments, "--split-mode", "none", "--main-gpu", "0"]
    started = dataclasses.replace(engine, arguments=arguments, environment={"OLLAMA_SCHED_SPREAD": "1"})
    _observed(seen, engine=started, parameters={}, log=None, log_missing="", device_uuids={})


def _observed(seen, **changes):
    models = seen.instances["gpu0-1"].models
    models[of_plan.NAME] = dataclasses.replace(models[of_plan.NAME], **changes)
