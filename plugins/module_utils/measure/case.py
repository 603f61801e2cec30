# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One model on one instance, before the judge: its part of the plan, its evidence, and what was found. Pure."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import journal, memory
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.names import planned_uuids, served_name


class Case:
    """What the checks look at (`model`, `found`, `data`, `observed` ...) and what they leave behind (`checks`, `diagnosis`)."""

    def __init__(self, plan, instance, model, data, inventory, devices, own_units):
        self.plan = plan
        self.instance = instance
        self.model = model
        self.data = data
        self.inventory = inventory
        self.devices = devices
        self.own_units = own_units
        self.unit = instance["unit"]
        self.url = instance["url"]
        self.name = served_name(model)
        self.found = (data.get("models") or {}).get(self.name) or {}
        self.engine = self.found.get("engine")
        self.predicted = dict(model.get("predicted") or {})
        self.predicted.setdefault("devices", [])
        self.planned = planned_uuids(model)
        self.planned_text = ", ".join(self.planned)
        self.fully_on_gpu = bool(self.predicted.get("fully_on_gpu"))
        self.loading_not_tried = not self.found.get("load_error") and self.found.get("load_seconds") is None
        #: {uuid: bytes or None} that this model's process (the unit's, where it is not known or the only model) holds by NVML.
        pids = {self.engine["pid"]} if self.engine and len(instance["models"]) > 1 else set()
        self.observed = memory.held_by(devices, pids, self.unit)
        self.checks = []
        self.diagnosis = []

    # -- what was found ----------------------------------------------------------------------------------------------------------

    def record(self, name, passed, expected, observed):
        """Add a check; `passed` None = the host cannot tell. Returns `passed`."""
        self.checks.append({"name": name, "passed": passed, "expected": expected, "observed": observed})
        return passed

    def passed(self, name, expected, observed):
        """Add a check that passed; returns True."""
        return self.record(name, True, expected, observed)

    def unknown(self, name, expected, why):
        """Add a check that cannot be made here, with the reason."""
        return self.record(name, None, expected, why)

    def fail(self, name, expected, observed, finding, evidence, remedy):
        """Add a failed check with its diagnosis; returns False."""
        self.diagnose(finding, evidence, remedy)
        return self.record(name, False, expected, observed)

    def diagnose(self, finding, evidence, remedy):
        """Add a finding: what was seen, and what to do."""
        self.diagnosis.append(
            {
                "finding": finding,
                "evidence": evidence,
                "remedy": remedy,
                "instance": self.instance["name"],
                "model": self.name,
            }
        )

    # -- views of the evidence ---------------------------------------------------------------------------------------------------

    def engine_bytes(self):
        """Return {uuid: bytes} that the engine itself expected or allocated, where the log tells."""
        log = self.found.get("log")
        if not log:
            return {}
        names = self.found.get("devices") or {}
        return {names[name]: size for name, size in journal.gpu_bytes(log).items() if name in names}

    def layers_missing(self):
        """True if the engine put fewer layers on GPUs than the plan did."""
        log, planned = self.found.get("log"), self.predicted.get("gpu_layers")
        return bool(log) and log["layers"] is not None and planned is not None and log["layers"] < planned

    def host_excess(self):
        """Return by how many bytes the engine's buffers in host memory exceed the plan's, None where that is unknown or little.

        Only good to explain memory that a GPU lacks: with mmap such a buffer is counted from its first to its last tensor in the file.
        """
        log, planned = self.found.get("log"), self.predicted.get("host_bytes")
        if not log or planned is None:
            return None
        held = sum(size for device, size in log["buffers"].items() if not journal.is_gpu(device))
        return held - planned if held - planned > memory.tolerance(planned) else None

    def layers_finding(self):
        """Return the finding for layers, or tensors of layers, that the engine itself says it left on the CPU."""
        log = self.found["log"]
        if not self.layers_missing():
            return (
                "layers_on_cpu",
                "%s of %s are in host memory beyond what is planned there%s"
                % (memory.text(self.host_excess()), self.name, self.claims()),
                "Free memory on the GPUs or shorten the context, and remove LLAMA_ARG_OVERRIDE_TENSOR and LLAMA_ARG_N_CPU_MOE from the service's environment.",
            )
        return (
            "layers_on_cpu",
            "%d of %d layers of %s are on GPUs, %s are planned"
            % (log["layers"], log["layers_total"], self.name, self.predicted.get("gpu_layers")),
            "Free memory on the GPUs or shorten the context, and remove num_gpu from the model's parameters unless it is 999; then load the model again.",
        )

    def claims(self):
        """Return what log and API say to the contrary, for a sentence on why they are not believed."""
        log, ps = self.found.get("log"), self.found.get("ps") or {}
        said = []
        if log and log["layers"]:
            said.append("its log says %d/%d layers on GPU" % (log["layers"], log["layers_total"]))
        if ps.get("size") is not None and ps.get("size") == ps.get("size_vram"):
            said.append("/api/ps says size equals size_vram")
        return ", although " + " and ".join(said) if said else ""

    def foreign_growth(self, at_least=memory.GIB):
        """Return [(uuid, bytes, process)]: planned GPUs where processes of others hold over `at_least` bytes more than when the plan was made."""
        before = {gpu["uuid"]: gpu.get("foreign_bytes") or 0 for gpu in self.plan.get("gpus") or []}
        grown = []
        for uuid in self.planned:
            others = memory.foreign(self.devices, self.own_units, uuid)
            growth = sum(size for size, process in others) - before.get(uuid, 0)
            if others and growth > at_least:
                grown.append((uuid, growth, others[0][1]))
        return grown

    def foreign_finding(self, grown, consequence):
        """Return the finding for memory that processes of others took."""
        who = "; ".join(
            "process %s (%s, %s) and others outside the plan's services hold %s more of %s than at planning"
            % (
                process["pid"],
                process.get("name") or "unknown",
                process.get("unit") or "no service",
                memory.text(growth),
                uuid,
            )
            for uuid, growth, process in grown
        )
        pids = ", ".join(str(process["pid"]) for uuid, growth, process in grown)
        return (
            "foreign_process",
            "%s: %s" % (who, consequence),
            "Stop process %s, or run the role again so that the plan counts its memory." % pids,
        )

    def observed_text(self):
        """Return what the model holds by NVML as text."""
        if not self.observed:
            return "nothing on any GPU"
        return ", ".join("%s on %s" % (memory.text(size), uuid) for uuid, size in sorted(self.observed.items()))

    def predicted_text(self):
        """Return what is predicted as text."""
        return ", ".join(
            "%s on %s" % (memory.text(device.get("total_bytes")), device["uuid"])
            for device in self.predicted["devices"]
        )

    def as_result(self):
        """Return the model's part of the result of placement_check."""
        log = self.found.get("log") or {}
        engine = self.engine_bytes()
        peaks = self.found.get("utilization_peak") or {}
        readable = self.inventory.get("state") == "ok"
        devices = []
        for device in self.predicted["devices"]:
            uuid = device["uuid"]
            devices.append(
                {
                    "uuid": uuid,
                    "predicted_bytes": device.get("total_bytes"),
                    "engine_bytes": engine.get(uuid),
                    "observed_bytes": self.observed.get(uuid, 0) if readable and uuid in self.devices else None,
                    "utilization_peak": peaks.get(uuid),
                }
            )
        for uuid in sorted(set(self.observed) - {device["uuid"] for device in devices}):
            devices.append(
                {
                    "uuid": uuid,
                    "predicted_bytes": 0,
                    "engine_bytes": engine.get(uuid),
                    "observed_bytes": self.observed[uuid],
                    "utilization_peak": None,
                }
            )
        return {
            "name": self.name,
            "checks": self.checks,
            "devices": devices,
            "layers_offloaded": log.get("layers"),
            "layers_total": log.get("layers_total"),
            "tokens_per_second": self.found.get("tokens_per_second"),
            "load_seconds": self.found.get("load_seconds"),
        }
