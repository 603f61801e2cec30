# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A switch in sentences: why it failed and what serves now. Pure."""

from __future__ import annotations

from typing import Any


def failure_text(title: str, failure: str, back: Any, wanted: dict[str, Any], applied: dict[str, Any]) -> str:
    """Return why a switch failed, what went back to what, and what it is proven with.

    Args:
        title: of the switch: its instances.
        failure: why it failed, in sentences.
        back: what became of going back (going_back.WentBack); None where there was nothing before.
        wanted: the plan.
        applied: the plan before.
    """
    begin = "The switch of %s to Ollama %s failed: %s" % (title, wanted.get("ollama_version"), failure)
    if back is None:
        return begin
    version = "Ollama %s" % applied.get("ollama_version")
    sentences = [begin]
    if back.instances:
        sentences.append(
            "%s went back to %s with the settings and models of before, and %s proven again: %s."
            % (", ".join(back.instances), version, "is" if len(back.instances) == 1 else "are", evidence_text(back))
        )
    elif not back.failure:
        sentences.append("Everything is as before again; nothing ran.")
    if back.failure:
        sentences.append(
            "Going back to %s failed: %s What serves now was left as it is; plan.json has the plan before this run."
            % (version, back.failure)
        )
    return " ".join(sentences)


def evidence_text(back: Any) -> str:
    """Return the evidence of instances that went back in short."""
    told = []
    for instance in back.evidence["instances"]:
        for model in instance["models"]:
            rate = model["tokens_per_second"]
            speed = "" if rate is None else ", %g tokens/s" % rate
            told.append("%s on %s: %s%s" % (model["name"], instance["name"], model["verdict"], speed))
    return "; ".join(told) or "verdict %s" % back.evidence["verdict"]
