# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The engine's entries in the GPU state file: bytes while a model is loaded, utilization while it generates, and lies
about both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from tests.rig.gpus import state as gpu_state

#: A sampler looks a few times a second, and NVML's own figure covers up to a second: the GPU stays busy this long after
#: the last token.
LINGER = 1.0
BUSY_PERCENT = 87
#: The process of the lie `leftover`: in the control group of the engine (its argument), and it ends with it.
LEFT_BEHIND = "import os, sys, time\nwhile os.getppid() == int(sys.argv[1]): time.sleep(0.1)"


class Holder:
    """What this process holds, with one line per device.

    `model` (with `cache`, the KV cache) and `context` are in bytes, per device in the order of the devices.
    """

    def __init__(self, devices, model, busy, lie=None, factor=1.5, lie_pid=None, cache=None):
        self.path, self.pid = gpu_state.state_path(), os.getpid()
        self.devices, self.model, self.lie, self.lie_pid = devices, model, lie, lie_pid
        self.factor, self.cache = factor, cache or [0] * len(model)
        if lie == "leftover":
            command = [sys.executable, "-c", LEFT_BEHIND, str(self.pid)]
            self.lie_pid = subprocess.Popen(command, start_new_session=True).pid
        self.busy = [] if lie in ("contexts_only", "nothing", "cpu", "idle") else busy[:1] if lie == "one_gpu" else busy
        self.busy_pid = lie_pid if lie == "busy_other" else self.pid
        self.name = os.path.abspath(sys.argv[0]) if sys.argv and sys.argv[0] else "llama-server"
        self.lock, self.generating, self.timer = threading.Lock(), 0, None

    def holdings(self):
        """[(device, pid, bytes)] with the lie applied."""
        if self.lie in ("nothing", "cpu"):
            return []
        if self.lie == "one_gpu":
            model = [sum(self.model)] + [0] * (len(self.model) - 1)
        elif self.lie in ("contexts_only", "foreign", "leftover"):
            model = [0] * len(self.model)
        elif self.lie == "swapped":
            model = self.model[::-1]
        elif self.lie in ("no_cache", "half_cache"):
            part = 1 if self.lie == "no_cache" else 2
            model = [size - cache / part for size, cache in zip(self.model, self.cache)]
        elif self.lie == "far":
            model = [size * self.factor for size in self.model]
        else:
            model = self.model
        # No lie goes beyond the card: what does not fit is not there.
        held = [
            (device, self.pid, int(min(size, device.free) + device.context))
            for device, size in zip(self.devices, model)
        ]
        if self.lie in ("foreign", "leftover") and self.lie_pid:
            held += [(device, self.lie_pid, int(size)) for device, size in zip(self.devices, self.model) if size]
        return held

    def enter(self):
        """Write the entries of this process, and remove those of processes that have exited."""
        if not self.devices:
            return
        with gpu_state.edit(self.path) as state:
            for key in [key for key in state if key.startswith("gpu") and (".process." in key or ".busy." in key)]:
                if not gpu_state.alive(int(key.rpartition(".")[2])):
                    del state[key]
            for device, pid, size in self.holdings():
                state["%s.process.%d" % (device.place, pid)] = "%d C %s" % (
                    size,
                    self.name if pid == self.pid else "somebody-else",
                )

    def leave(self):
        """Remove all entries of this process and of the other process that a lie uses."""
        if not self.devices or gpu_state.load(self.path) is None:
            return
        with gpu_state.edit(self.path) as state:
            for pid in [self.pid] + ([self.lie_pid] if self.lie_pid else []):
                for key in [
                    key
                    for key in state
                    if key.startswith("gpu") and key.endswith((".process.%d" % pid, ".busy.%d" % pid))
                ]:
                    del state[key]

    def _set_busy(self, percent):
        if not self.busy or gpu_state.load(self.path) is None:
            return
        with gpu_state.edit(self.path) as state:
            for device in self.busy:
                key = "%s.busy.%d" % (device.place, self.busy_pid)
                state.pop(key, None)
                if percent:
                    state[key] = str(percent)

    def begin(self):
        """A generation starts."""
        with self.lock:
            self.generating += 1
            if self.timer:
                self.timer.cancel()
                self.timer = None
            self._set_busy(BUSY_PERCENT)

    def end(self):
        """A generation ends: the utilization of the GPUs drops a moment later."""
        with self.lock:
            self.generating -= 1
            if not self.generating:
                self.timer = threading.Timer(LINGER, self._calm)
                self.timer.daemon = True
                self.timer.start()

    def _calm(self):
        with self.lock:
            if not self.generating:
                self._set_busy(0)
