# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Text of the systemd units that run the program of the host: at boot, after each start of an instance, by a
timer. Pure.

None of them restarts or stops an instance; an instance is ordered after the first one and needs none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..common import paths
from ..common.managed import MANAGED

#: Seconds after the boot in which a GPU may appear. A driver that is built for a new kernel takes longer; then the unit
#: fails and says which GPU is missing, and the instances start.
GPU_SECONDS = 120
_DOCUMENTATION = "Documentation=https://github.com/gpufleet/ollama\n"
#: The program reads the processes and journals of the services, which root may. It needs no home and no rights beyond.
_PROTECTION = """\
NoNewPrivileges=true
ProtectSystem=full
ProtectHome=read-only
"""
_GPUS = """\
[Unit]
Description=GPUs of the Ollama instances
@documentation@After=nvidia-persistenced.service systemd-modules-load.service

[Service]
Type=oneshot
# Once since the boot, so that a restart of an instance is not delayed; after a failure, before the next start of one.
# Where the driver was loaded again since, systemctl restart of this unit makes the device nodes anew.
RemainAfterExit=true
# Loads nvidia_uvm and makes its device nodes, which the service of an instance may not: without them CUDA is not seen
# at boot. Absent without a driver.
ExecStart=-/usr/bin/nvidia-modprobe -c 0 -u
ExecStart=@program@ gpus --seconds @seconds@
TimeoutStartSec=@timeout@
@protection@"""
_READY = """\
[Unit]
Description=Models of the Ollama instance %i
@documentation@# Stopped and started with the instance, which wants this unit at each of its starts.
PartOf=ollama@%i.service
After=ollama@%i.service

[Service]
Type=oneshot
# A benchmark that has stopped the instances loads the models itself, unless it is killed.
ExecStart=@program@ load %i --after-benchmark
# A large model takes minutes. The program gives up a load that makes no progress.
TimeoutStartSec=infinity
@accept@@protection@"""
_CHECK = """\
[Unit]
Description=Check of the Ollama instances against their plan
@documentation@
[Service]
Type=oneshot
ExecStart=@program@ check@heal@
TimeoutStartSec=@timeout@
@accept@@protection@"""
_TIMER = """\
[Unit]
Description=Check of the Ollama instances against their plan, every @interval@ seconds
@documentation@
[Timer]
OnActiveSec=@interval@
OnUnitInactiveSec=@interval@
AccuracySec=@accuracy@

[Install]
WantedBy=timers.target
"""
#: Longest time of a check that may heal: a large model is loaded twice, once after a restart.
_CHECK_SECONDS, _HEAL_SECONDS = 600, 7200


@dataclass(frozen=True)
class Checking:
    """What the role's variables say about the checks between runs.

    `interval` is in seconds, 0 for no checks. `heal` tells whether a check loads a model again and restarts its
    instance. `accept_unproven` tells whether a unit counts as fine where its result is unproven. `metrics_directory` is
    where a check writes its metrics, "" for nowhere.
    """

    interval: int = 600
    heal: bool = False
    accept_unproven: bool = False
    metrics_directory: str = ""


def unit_texts(checking: Checking) -> dict[str, str]:
    """Return {path: text} of the units; the timer is not among them where there are no checks."""
    texts = {
        paths.GPUS_UNIT_FILE: _filled(_GPUS, seconds=GPU_SECONDS, timeout=GPU_SECONDS + 60),
        paths.READY_UNIT_FILE: _filled(_READY, accept=_accept(checking)),
        paths.CHECK_UNIT_FILE: _filled(
            _CHECK,
            heal=" --heal" if checking.heal else "",
            timeout=_HEAL_SECONDS if checking.heal else _CHECK_SECONDS,
            accept=_accept(checking),
        ),
    }
    if checking.interval:
        accuracy = min(60, max(1, checking.interval // 10))
        texts[paths.CHECK_TIMER_FILE] = _filled(_TIMER, interval=checking.interval, accuracy=accuracy)
    return texts


def _accept(checking: Checking) -> str:
    """2 is the program's exit code of a result that is unproven."""
    return "SuccessExitStatus=2\n" if checking.accept_unproven else ""


def _filled(text: str, **values: object) -> str:
    known = {"documentation": _DOCUMENTATION, "protection": _PROTECTION, "program": paths.PROGRAM}
    for name, value in {**known, **values}.items():
        text = text.replace("@%s@" % name, str(value))
    return MANAGED + text
