# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a release would do without any setting."""

from __future__ import annotations

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.placement.builders import TWO_4090, plan, wanted


def test_what_the_version_would_do_untouched():
    behaviour = plan(TWO_4090, wanted("llama3.1-8b", strategy="spread"))["models"][0]["default_behaviour"]
    assert (
        behaviour["context_length"] == 131072 and behaviour["outcome"] == "split"
    )  # the tier of two 24 GB cards, capped by the training
    effects = {setting["name"]: setting for setting in behaviour["settings"]}
    assert effects["OLLAMA_GPU_OVERHEAD"]["effect"].startswith("no effect")
    assert effects["num_gpu"]["value"] == 999 and "no fallback to the CPU" in effects["num_gpu"]["effect"]
    assert (
        effects["OLLAMA_SCHED_SPREAD"]["value"] == "1"
        and "all visible GPUs" in effects["OLLAMA_SCHED_SPREAD"]["effect"]
    )
    single = plan(hosts.inventory(hosts.A6000), wanted("llama3.1-8b", context_length=4096))["models"][0][
        "default_behaviour"
    ]
    assert (
        single["outcome"] == "single"
        and single["predicted_bytes"] == models.model("llama3.1-8b")["file_bytes"] + 131072 * 131072
    )
