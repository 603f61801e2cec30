# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The metrics of a host: names, types, units, labels and what they mean. Pure.

The text that Prometheus reads, the table of docs/docsite/rst/metrics.rst, the alert rules and the dashboard in
docs/metrics are made from this list. Prometheus itself gives each series the label `instance`, of the host that it was
read from; the instances of Ollama have `ollama_instance`.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Of all names.
PREFIX = "gpufleet_"
GAUGE, COUNTER = "gauge", "counter"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        key: its name without the prefix.
        text: what it is, as a sentence.
        labels: what tells its series apart.
        unit: bytes, seconds, celsius, or "" for a number without one.
        kind: GAUGE or COUNTER.
    """

    key: str
    text: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    kind: str = GAUGE

    @property
    def name(self) -> str:
        """The name that Prometheus has."""
        return PREFIX + self.key


_GPU, _MODEL, _BOTH = ("uuid",), ("ollama_instance", "model"), ("uuid", "ollama_instance", "model")

METRICS = (
    Metric("program_info", "1, with the versions of the collection and of Ollama.", ("version", "ollama_version")),
    Metric("verdict", "1 for the verdict of the last check of the host, 0 for the others.", ("verdict",)),
    Metric("verdict_timestamp_seconds", "When that check was made, in Unix time.", (), "seconds"),
    Metric("check_interval_seconds", "Seconds between two checks; absent where none are planned.", (), "seconds"),
    Metric(
        "instance_verdict",
        "1 for the verdict of an instance of Ollama, 0 for the others.",
        ("ollama_instance", "verdict"),
    ),
    Metric(
        "model_loaded",
        "Whether a planned model is loaded. One that is not resident is loaded when it is asked for.",
        _MODEL + ("resident",),
    ),
    Metric("proof_tokens_per_second", "Tokens per second of a model when the plan in force was proven.", _MODEL),
    Metric("proof_timestamp_seconds", "When the plan in force was proven, in Unix time.", (), "seconds"),
    Metric("gpu_predicted_bytes", "Memory of a model on a GPU by the plan.", _BOTH, "bytes"),
    Metric("gpu_observed_bytes", "Memory of a model on a GPU by NVML.", _BOTH, "bytes"),
    Metric("gpu_least_bytes", "Less memory than this contradicts the plan.", _BOTH, "bytes"),
    Metric("gpu_most_bytes", "More memory than this contradicts the plan.", _BOTH, "bytes"),
    Metric("gpus_readable", "Whether NVML could be read: without it, nothing else is known of the GPUs."),
    Metric("gpu_present", "Whether a planned GPU is there and can be used.", _GPU),
    Metric("gpu_info", "1, with the name and the PCI address of a GPU.", ("uuid", "name", "pci_bus_id")),
    Metric("gpu_memory_total_bytes", "Memory of a GPU.", _GPU, "bytes"),
    Metric("gpu_memory_used_bytes", "Memory of a GPU that is in use, by whomever.", _GPU, "bytes"),
    Metric("gpu_temperature_celsius", "Temperature of a GPU.", _GPU, "celsius"),
    Metric("gpu_slowdown_temperature_celsius", "Temperature at which a GPU slows down.", _GPU, "celsius"),
    Metric(
        "gpu_throttled",
        "Whether heat or missing power slowed a GPU down at the moment of the check.",
        ("uuid", "reason"),
    ),
    Metric(
        "gpu_ecc_uncorrected_errors_total",
        "Uncorrected memory errors of a GPU since its driver was loaded.",
        _GPU,
        kind=COUNTER,
    ),
    Metric(
        "gpu_ecc_uncorrected_lifetime_errors_total",
        "Uncorrected memory errors over the life of a GPU.",
        _GPU,
        kind=COUNTER,
    ),
    Metric(
        "gpu_xid_messages",
        "Messages Xid in the log of the kernel since the boot, 0 for the codes of the hardware that it does not have.",
        ("uuid", "pci_bus_id", "code"),
    ),
)
#: The same by key.
BY_KEY = {metric.key: metric for metric in METRICS}
