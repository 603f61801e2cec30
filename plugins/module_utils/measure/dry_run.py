# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask the installed engine how much memory a planned model takes.

llama-server (Ollama 0.30 and later) prints a table of memory by device before it loads a model (memory_table.py). It
is started with the arguments that Ollama would give it for the plan, and killed as soon as the table is there. So no
weight is read into memory, no buffer is allocated, and what runs on the host is not disturbed.

It runs as the service user, as the server does, and never as root: it parses a file that this user could write.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import select
import stat
import subprocess
import time
from typing import Any

from ..common import paths
from ..common.secrets import HIDDEN
from ..host.as_user import Account, UserError, account, call_as
from ..host.child import DeadlineExceeded
from ..host.program_as_user import PLAIN, kill, start_as
from . import memory_table
from .memory_table import DeviceMemory

#: A dry run needs a CUDA context on every GPU. Where less memory is free, that could disturb what runs.
LEAST_FREE_BYTES = 1024 * 1024 * 1024
#: The engine starts to load the model after this line, so it is killed at the latest then.
_LOADS = "load_tensors:"
_NO_GPU_BACKENDS = ("libggml-base", "libggml-cpu")
_MOST_OUTPUT_BYTES = 4 * 1024 * 1024


class NotMeasured(Exception):
    """The engine printed no table. The text is a sentence without a capital letter, to follow "not measured: "."""


class Busy(NotMeasured):
    """The engine was not started, because that could disturb what runs on the GPUs now."""


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What the engine is asked about.

    `engine` is the path of llama-server, `model_file` that of the GGUF file; `instance` and `model` are of a plan.
    `flash_attention` is "on", "off" or "auto", as Ollama would set it for these GPUs. `draft_file` and `adapter_files`
    are GGUF files too. `library` is the CUDA library that Ollama takes for these GPUs: a directory beside the engine.
    """

    engine: str
    model_file: str
    instance: dict[str, Any]
    model: dict[str, Any]
    flash_attention: str = "auto"
    draft_file: str | None = None
    adapter_files: tuple[str, ...] = ()
    library: str = ""

    @property
    def files(self) -> list[str]:
        """Return the paths of all GGUF files that the engine reads."""
        return [self.model_file, *([self.draft_file] if self.draft_file else []), *self.adapter_files]

    @property
    def speculates(self) -> bool:
        """Return whether something proposes tokens; the engine then prints a second table, for that."""
        return bool(self.model.get("speculation"))

    def _proposals(self) -> list[str]:
        """Return the options of speculative decoding and of adapters, as Ollama gives them."""
        planned, options = self.model.get("speculation"), []
        if planned:
            options += ["--spec-type", planned["type"], "--spec-draft-n-max", str(planned["tokens"])]
            if planned["type"] == "draft-mtp":
                options.append("--spec-draft-backend-sampling")
            if self.draft_file:
                options += ["--spec-draft-model", self.draft_file]
        for path in self.adapter_files:
            options += ["--lora", path]
        return options

    def arguments(self) -> list[str]:
        """Return the command line of llama-server: Ollama's own (llm/llama_server.go) with the layers of the plan.

        The layers are given, because the engine would divide them by the memory that is free while others are loaded.
        """
        predicted, parallel = self.model["predicted"], self.model["parallel"]
        command = [self.engine, "--model", self.model_file, "--port", "0", "--host", "127.0.0.1"]
        command += ["--no-webui", "--offline", "-c", str(self.model["context_length"] * parallel), "-np", str(parallel)]
        command += ["--log-verbosity", "4", "--no-log-prefix", "--no-log-timestamps"]
        command += ["--embedding"] if self.model.get("embedding") else []
        command += self._proposals()
        cache_type = self.instance["environment"].get("OLLAMA_KV_CACHE_TYPE")
        if cache_type:
            command += ["--cache-type-k", cache_type, "--cache-type-v", cache_type]
        batch = str(predicted["ubatch"])
        command += ["--flash-attn", self.flash_attention, "-b", batch, "-ub", batch, "-ngl", "999"]
        layers = [device["layers"] for device in predicted["devices"]]
        if len(layers) > 1:
            command += ["--tensor-split", ",".join(str(count) for count in layers)]
        return command

    def environment(self) -> dict[str, str]:
        """Return the environment of the instance with what Ollama sets for the library of its GPUs.

        Without GGML_BACKEND_PATH the engine finds no GPU: it looks for back-ends in its own directory only. Source:
        llm/llama_server.go, `llamaServerLibraryPaths` and `findLlamaServerGPUBackend`, from 0.30.0 on.
        """
        directory = os.path.dirname(self.engine)
        library = os.path.join(directory, self.library) if self.library else directory
        found = {"LD_LIBRARY_PATH": os.pathsep.join(dict.fromkeys((directory, library)))}
        files = sorted(glob.glob(os.path.join(glob.escape(library), "libggml-*.so*"))) if self.library else []
        backends = [path for path in files if not os.path.basename(path).startswith(_NO_GPU_BACKENDS)]
        found.update({"GGML_BACKEND_PATH": path for path in backends[:1]})
        ours = {
            name: text
            for name, text in self.instance["environment"].items()
            if name != "LLAMA_ARG_TENSOR_SPLIT" and text != HIDDEN
        }
        return dict(PLAIN, **dict(ours, **found))

    def key(self) -> str:
        """Return a text that is the same for dry runs with the same answer: the GPUs by their UUIDs do not matter."""
        settings = {
            name: text
            for name, text in self.instance["environment"].items()
            if name.startswith(("LLAMA_ARG_", "GGML_"))
        }
        return repr((self.arguments(), sorted(settings.items()), self.library))


def measure(run: DryRun, timeout: float = 60.0) -> dict[str, DeviceMemory]:
    """Return what the engine expects to use: {"CUDA0": memory, ..., "Host": memory}.

    Args:
        run: what to ask.
        timeout: seconds for all of it.

    Raises:
        NotMeasured: the host does not have the service user, or it cannot read the program or the file; or the engine
            ends, hangs or starts to load without a table.
    """
    user = _user()
    _check_readable(run, user, timeout)
    try:
        process = start_as(user, run.arguments(), run.environment(), stderr=subprocess.STDOUT)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NotMeasured("the engine %s cannot be started: %s" % (run.engine, reason))
    try:
        deadline = time.monotonic() + timeout
        tables = _read_tables(process, 2 if run.speculates else 1, deadline, timeout)
    finally:
        kill(process)
    for device, draft in tables[-1].items() if run.speculates else ():
        if device in tables[0]:
            tables[0][device] = tables[0][device].with_draft(draft, bool(run.draft_file))
    return tables[0]


def _user() -> Account:
    """Return who runs the engine: the service user, or the user of this process where that is not root."""
    if os.geteuid() != 0:
        return Account("of this task", os.geteuid(), os.getegid())
    try:
        return account(paths.USER)
    except UserError as error:
        raise NotMeasured(str(error))


def _check_readable(run: DryRun, user: Account, timeout: float) -> None:
    """Raise NotMeasured where a file is missing, or is not one that the user can use."""
    try:
        found = call_as(user, _usable, run.engine, run.files, timeout=timeout)
    except (UserError, DeadlineExceeded) as error:
        raise NotMeasured(str(error))
    for path, answer in zip([run.engine, *run.files], found):
        what = "engine" if path == run.engine else "model file"
        if answer == "missing":
            raise NotMeasured("there is no %s at %s" % (what, path))
        if answer == "closed":
            raise NotMeasured("the user %s cannot read the %s %s" % (user.name, what, path))


def _usable(engine: str, files: list[str]) -> list[str]:
    """As the user: return for the engine and for each file whether it is "usable", "missing" or "closed"."""
    answers = []
    for path, right in [(engine, os.R_OK | os.X_OK)] + [(path, os.R_OK) for path in files]:
        try:
            there = stat.S_ISREG(os.stat(path).st_mode)
        except PermissionError:
            answers.append("closed")
        except OSError:
            answers.append("missing")
        else:
            answers.append("missing" if not there else "usable" if os.access(path, right) else "closed")
    return answers


def _read_tables(
    process: subprocess.Popen[bytes], count: int, deadline: float, timeout: float
) -> list[dict[str, DeviceMemory]]:
    """Return the first tables from the engine's output.

    Raises:
        NotMeasured: at the deadline (monotonic), and where the output ends without them.
    """
    tables: list[dict[str, DeviceMemory]] = []
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
                    tables.append(table)
                    table = None
                    if len(tables) == count:
                        return tables
            last = line.strip()[:200] or last
