# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Check an instance for what its plan does not name: models loaded beside, and other processes of its unit. Pure."""

from __future__ import annotations

from typing import Any

from ..common.names import key_of, served_name
from ..common.sizes import gib
from ..gpu.holders import holder
from .host_view import HostView
from .shapes import Check, Finding, ObservedInstance


class InstanceComparison:
    """One instance of a plan beside what was observed of it.

    Args:
        instance: of the plan.
        observed: of the instance; an empty ObservedInstance where nothing was gathered.
        host: the host as NVML shows it.
    """

    def __init__(self, instance: dict[str, Any], observed: ObservedInstance, host: HostView) -> None:
        self.name: str = instance["name"]
        self.unit: str = instance["unit"]
        self.planned = [served_name(model) for model in instance["models"]]
        self.observed = observed
        self._host = host

    def unplanned_models(self) -> list[str] | None:
        """Return the models that are loaded and not planned; None where it is not known what is loaded."""
        if self.observed.loaded is None:
            return None
        planned = {key_of(name) for name in self.planned} | self.observed.names_of_planned()
        return [name for name in self.observed.loaded if key_of(name) not in planned]

    def listed_again(self) -> list[str]:
        """Return the names that are listed as loaded several times: the server still holds what they meant before."""
        keys = [key_of(name) for name in self.observed.loaded or []]
        return list(dict.fromkeys(name for name in self.observed.loaded or [] if keys.count(key_of(name)) > 1))

    def other_processes(self) -> dict[str, list[dict[str, Any]]] | None:
        """Return {uuid: processes} of the unit that hold memory of a GPU and are the engine of no planned model.

        Returns:
            None where that is unknown: the engine of a loaded model is not known, or a GPU in use has no list.
        """
        models = self.observed.models
        found = {}
        pids = {one.engine.pid for one in models.values() if one.engine}
        for uuid, device in self._host.devices.items():
            others = [process for process in device.of_unit(self.unit) if process["pid"] not in pids]
            if others:
                found[uuid] = others
        if any(one.loaded and one.engine is None for one in models.values()):
            return None
        unknown = any(device.processes is None and device.used_bytes != 0 for device in self._host.devices.values())
        return found or (None if unknown or not self._is_readable() else {})

    def _is_readable(self) -> bool:
        return self._host.has_no_gpu or (self._host.is_known and self._host.problem() is None)


def check_instance(comparison: InstanceComparison) -> list[Check]:
    """Return the checks of an instance as a whole; [] where its server is not reachable, which its models say."""
    if not comparison.observed.reachable:
        return []
    planned = ", ".join(comparison.planned)
    models, processes = comparison.unplanned_models(), comparison.other_processes()
    nothing = "no other process of the unit on a GPU"
    return [
        Check(
            "only_planned_models",
            None if models is None else not models + comparison.listed_again(),
            planned,
            "unknown" if models is None else ", ".join(comparison.observed.loaded or []),
        ),
        Check(
            "only_engines",
            None if processes is None else not processes,
            nothing,
            "unknown" if processes is None else _words(processes) or nothing,
        ),
    ]


def explain(comparison: InstanceComparison, models_are_proven: bool) -> list[Finding]:
    """Return the findings of an instance as a whole, [] if there is nothing that the plan does not name.

    Args:
        comparison: of the instance.
        models_are_proven: whether its models have no finding. What is unknown is said only then.
    """
    if not comparison.observed.reachable:
        return []
    found = []
    models, processes = comparison.unplanned_models(), comparison.other_processes()
    if models:
        names = ", ".join(models)
        found.append(
            (
                "unplanned_model",
                "%s has loaded %s, which the plan does not contain" % (comparison.unit, names),
                "Unload %s (module gpufleet.ollama.model with state unloaded), or add it to the models of the host. "
                "Clients have to use the planned names: %s." % (names, ", ".join(comparison.planned)),
            )
        )
    again = comparison.listed_again()
    if again:
        found.append(
            (
                "unplanned_model",
                "%s lists %s several times: the former model of that name is still loaded"
                % (comparison.unit, ", ".join(again)),
                "Restart %s, or unload the model (gpufleet.ollama.model with state unloaded) and load it again."
                % comparison.unit,
            )
        )
    if processes:
        pids = sorted({process["pid"] for others in processes.values() for process in others})
        found.append(
            (
                "unplanned_process",
                "%s has processes on GPUs that run no planned model: %s" % (comparison.unit, _words(processes)),
                "`ps -o pid=,ppid= -p %s` prints each process and its parent. Where the parent is 1, the server that "
                "started the process was killed: run kill with the number of the process. Otherwise unload the model "
                "that the process runs." % ",".join(str(pid) for pid in pids),
            )
        )
    unknown = [check.name for check in check_instance(comparison) if check.passed is None]
    if unknown and not found and models_are_proven:
        found.append(
            (
                "unproven",
                "whether %s serves only what is planned is unknown (checks %s)" % (comparison.unit, ", ".join(unknown)),
                "Run the check as root on the host itself, where NVML lists the processes of all GPUs.",
            )
        )
    return [Finding(*one, instance=comparison.name, model="") for one in found]


def _words(processes: dict[str, list[dict[str, Any]]]) -> str:
    """{uuid: processes} as text: "process 77 (llama-server, unit x.service) holds 1.0 GiB on GPU-aaaa"."""
    return ", ".join(
        "%s holds %s on %s" % (holder(process), gib(process.get("used_bytes")), uuid)
        for uuid, others in sorted(processes.items())
        for process in others
    )
