# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask the installed engine how much memory a planned model takes.

llama-server (Ollama 0.30 and later) prints a table of memory by device before it loads a model (memory_table.py). It
is started with the arguments that Ollama would give it for the plan, and killed as soon as the table is there. So no
weight is read into memory, no buffer is allocated, and what runs on the host is not disturbed.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import pwd
import select
import signal
import subprocess
import time
from typing import Any, Mapping

from . import memory_table
from .memory_table import DeviceMemory

#: A dry run needs a CUDA context on every GPU. Where less memory is free, that could disturb what runs.
LEAST_FREE_BYTES = 1024 * 1024 * 1024
#: The engine starts to load the model after this line, so it is killed at the latest then.
_LOADS = "load_tensors:"
_MOST_OUTPUT_BYTES = 4 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
#: How long to wait for a killed engine to end.
_KILL_SECONDS = 10


class NotMeasured(Exception):
    """The engine printed no table. The text is a sentence without a capital letter, to follow "not measured: "."""


class Busy(NotMeasured):
    """The engine was not started, because that could disturb what runs on the GPUs now."""


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What the engine is asked about.

    `engine` is the path of llama-server, `model_file` that of the GGUF file; `instance` and `model` are of a plan.
    `flash_attention` is "on", "off" or "auto", as Ollama would set it for these GPUs.
    """

    engine: str
    model_file: str
    instance: dict[str, Any]
    model: dict[str, Any]
    flash_attention: str = "auto"

    def arguments(self) -> list[str]:
        """Return the command line of llama-server: Ollama's own (llm/llama_server.go) with the layers of the plan.

        The layers are given, because the engine would divide them by the memory that is free while others are loaded.
        """
        predicted, parallel = self.model["predicted"], self.model["parallel"]
        command = [self.engine, "--model", self.model_file, "--port", "0", "--host", "127.0.0.1"]
        command += ["--no-webui", "--offline", "-c", str(self.model["context_length"] * parallel), "-np", str(parallel)]
        command += ["--log-verbosity", "4", "--no-log-prefix", "--no-log-timestamps"]
        cache_type = self.instance["environment"].get("OLLAMA_KV_CACHE_TYPE")
        if cache_type:
            command += ["--cache-type-k", cache_type, "--cache-type-v", cache_type]
        batch = str(predicted["ubatch"])
        command += ["--flash-attn", self.flash_attention, "-b", batch, "-ub", batch, "-ngl", "999"]
        layers = [device["layers"] for device in predicted["devices"]]
        if len(layers) > 1:
            command += ["--tensor-split", ",".join(str(count) for count in layers)]
        return command

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the instance with the library path that Ollama sets (LD_LIBRARY_PATH)."""
        directory = os.path.dirname(self.engine)
        libraries = [directory]
        for name in ("cuda_v13", "cuda_v12"):
            if os.path.isdir(os.path.join(directory, name)):
                libraries.insert(0, os.path.join(directory, name))
        kept = {name: text for name, text in inherited.items() if not name.startswith(("LLAMA_ARG_", "CUDA_", "LD_"))}
        ours = {name: text for name, text in self.instance["environment"].items() if name != "LLAMA_ARG_TENSOR_SPLIT"}
        return dict(kept, **dict(ours, LD_LIBRARY_PATH=os.pathsep.join(libraries)))

    def key(self) -> str:
        """Return a text that is the same for dry runs with the same answer: the GPUs by their UUIDs do not matter."""
        settings = {
            name: text
            for name, text in self.instance["environment"].items()
            if name.startswith(("LLAMA_ARG_", "GGML_"))
        }
        return repr((self.arguments(), sorted(settings.items())))


def measure(run: DryRun, timeout: float = 60.0) -> dict[str, DeviceMemory]:
    """Return what the engine expects to use: {"CUDA0": memory, ..., "Host": memory}.

    Args:
        run: what to ask.
        timeout: seconds for all of it.

    Raises:
        NotMeasured: the program or file does not exist, or the engine ends, hangs or starts to load without a table.
    """
    for path, what in ((run.engine, "engine"), (run.model_file, "model file")):
        if not os.path.isfile(path):
            raise NotMeasured("there is no %s at %s" % (what, path))
    try:
        # run_command would wait for an engine that hangs, and give it neither a time limit nor another user
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            run.arguments(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=run.environment(os.environ),
            cwd="/",
            start_new_session=True,
            preexec_fn=_die_with_parent,
            **_owner(run.model_file),
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NotMeasured("the engine %s cannot be started: %s" % (run.engine, reason))
    try:
        return _read_table(process, time.monotonic() + timeout, timeout)
    finally:
        _kill(process)


def _owner(path: str) -> dict[str, Any]:
    """Return the arguments of Popen that run the engine as the owner of the models and not as root."""
    uid = os.stat(path).st_uid
    if os.geteuid() != 0 or uid == 0:
        return {}
    try:
        account = pwd.getpwuid(uid)
        return {"user": uid, "group": account.pw_gid, "extra_groups": os.getgrouplist(account.pw_name, account.pw_gid)}
    except (KeyError, OSError):
        return {}


def _die_with_parent() -> None:
    """In the child: have the kernel kill it when this process ends, however that ends."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        pass


def _read_table(process: subprocess.Popen[bytes], deadline: float, timeout: float) -> dict[str, DeviceMemory]:
    """Return the table from the engine's output. Raises NotMeasured at the deadline (monotonic) and without a table."""
    table: dict[str, DeviceMemory] | None = None
    last, seen, buffered = "", 0, b""
    output: Any = process.stdout
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([output], [], [], left)[0]:
            raise NotMeasured("the engine printed no memory table within %d seconds" % timeout)
        data = os.read(output.fileno(), 65536)
        seen += len(data)
        if not data or seen > _MOST_OUTPUT_BYTES:
            raise NotMeasured("the engine ended before it printed its memory table: %s" % (last or "no output"))
        *lines, buffered = (buffered + data).split(b"\n")
        for line in (raw.decode("utf-8", "replace") for raw in lines):
            if _LOADS in line:
                raise NotMeasured("the engine started to load before it printed its memory table")
            if memory_table.is_head(line):
                table = {}
                continue
            row = memory_table.row(line) if table is not None else None
            if table is not None and row and row[1]:
                table[row[0]] = row[1]
                if row[0] == memory_table.HOST:  # the last row
                    return table
            last = line.strip()[:200] or last


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the engine and its children. Wait until it is gone, but not for long: it may hang in the driver."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if process.stdout:
        process.stdout.close()
    try:
        process.wait(_KILL_SECONDS)
    except subprocess.TimeoutExpired:
        pass  # it ends when the driver returns
