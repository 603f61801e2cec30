# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bring instances back to what they were before a run changed them, and prove that.

What is kept (kept.py) goes back in reverse order, one switch after the other, so that replicas which were not changed
serve meanwhile. Where something of it fails, the rest is left as it is: it may serve.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from ..common import paths
from ..evidence.planned import instances_of
from ..host import units
from ..host.files import Files
from ..ollama.store import Store
from . import kept
from .kept import Kept, KeptFile, KeptSwitch
from .proof import prove
from .steps import EXPECTED_ERRORS, SwitchFailed, sentence, wait_until_ready


@dataclass
class WentBack:
    """What became of going back.

    Attributes:
        instances: Names of those that are as before again, and proven where they ran.
        evidence: Of those, as module placement_check returns it.
        failure: Why it ended early, in sentences; "" where it did not.
    """

    instances: list[str] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=lambda: {"verdict": "pass", "instances": [], "diagnosis": []})
    failure: str = ""


def go_back(before: Kept, applied: dict[str, Any], files: Files, accept_unproven: bool = False) -> WentBack:
    """Bring all instances back that are kept.

    Args:
        before: what is kept of them.
        applied: the plan that they were applied with.
        files: puts files in place.
        accept_unproven: whether what is neither proven nor contradicted is good enough.

    Raises:
        LibraryMissing: requests, or nvidia-ml-py where the plan uses GPUs.
    """
    back = WentBack()
    try:
        _require_releases(before)
        kept.put_back(before.shared, files)
        units.reload()
        for switch in reversed(before.switches):
            _switch_back(switch, applied, files, accept_unproven, back)
        kept.drop(files)
    except SwitchFailed as error:
        back.failure = str(error)
    except EXPECTED_ERRORS as error:
        back.failure = sentence(error)
    return back


def _require_releases(before: Kept) -> None:
    """Refuse to stop anything where a release of before is not there any more."""
    for switch in before.switches:
        for instance in switch.instances:
            link = paths.instance_release(instance.name)
            file = switch.files.get(link) or KeptFile("absent")
            program = os.path.normpath(os.path.join(os.path.dirname(link), file.target, "bin/ollama"))
            if instance.active and file.kind == "link" and not os.path.exists(program):
                raise SwitchFailed(
                    "%s ran %s, which is not there any more: install that release, or mend the new one."
                    % (instance.name, program)
                )


def _switch_back(
    switch: KeptSwitch, applied: dict[str, Any], files: Files, accept_unproven: bool, back: WentBack
) -> None:
    units.stop([paths.unit(one.name) for one in switch.instances])
    kept.put_back(switch.files, files)
    for one in switch.instances:
        if one.store:
            Store(one.store, paths.USER).put_back(one.manifests)
    units.disable([paths.unit(one.name) for one in switch.instances if not one.enabled])
    units.enable([paths.unit(one.name) for one in switch.instances if one.enabled])
    ran = [one.name for one in switch.instances if one.active]
    units.start([paths.unit(name) for name in ran])
    wait_until_ready(instances_of(applied, ran))
    proof = prove(applied, [instance["name"] for instance in instances_of(applied, ran)], accept_unproven)
    if proof.evidence:
        back.evidence = {
            "verdict": proof.verdict if back.evidence["verdict"] == "pass" else back.evidence["verdict"],
            "instances": back.evidence["instances"] + proof.evidence["instances"],
            "diagnosis": back.evidence["diagnosis"] + proof.evidence["diagnosis"],
        }
    if proof.problem:
        raise SwitchFailed(proof.problem)
    back.instances += [one.name for one in switch.instances if one.active]
