# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask the installed engine itself what a planned model takes: llama-server prints a table of memory by device before it loads (Ollama 0.30 and later).

It is started with the arguments that the plan amounts to and killed as soon as the table is there: no weight is read into memory and no buffer is
allocated. What runs on the host is not touched. The table: ollama-0.32.15-loading.json, `common_memory_breakdown_print`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import select
import signal
import subprocess
import time

from ..evidence import journal

#: While it looks, the engine has a CUDA context on every GPU that it sees; below this much free memory that could disturb what runs there.
LEAST_FREE_BYTES = 1024 * 1024 * 1024
#: The line after which the engine begins to load: it must never be seen.
_LOADS = "load_tensors:"
_MOST_OUTPUT = 4 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_PATIENCE = 10  # seconds for a killed engine to go


class NotMeasured(Exception):
    """The engine did not say it. The text is one sentence without a capital, to go after "not measured: "."""


class Busy(NotMeasured):
    """It was not asked, because that could disturb what runs on the GPUs now."""


def arguments(engine, model_file, instance, model, flash="auto"):
    """The command line of llama-server for a model of a plan's instance, as Ollama's own (llm/llama_server.go) with the plan's layers pinned.

    Args:
        flash: what Ollama would say of flash attention on these GPUs, "on", "off" or "auto".

    The layers are pinned because the engine would split by the memory that is free now, with what is loaded taking its part.
    """
    predicted = model["predicted"]
    parallel = model["parallel"]
    command = [engine, "--model", model_file, "--port", "0", "--host", "127.0.0.1", "--no-webui", "--offline"]
    command += [
        "-c",
        str(model["context_length"] * parallel),
        "-np",
        str(parallel),
        "--log-verbosity",
        "4",
        "--no-log-prefix",
        "--no-log-timestamps",
    ]
    cache_type = instance["environment"].get("OLLAMA_KV_CACHE_TYPE")
    if cache_type:
        command += ["--cache-type-k", cache_type, "--cache-type-v", cache_type]
    command += ["--flash-attn", flash, "-b", str(predicted["ubatch"]), "-ub", str(predicted["ubatch"]), "-ngl", "999"]
    layers = [device["layers"] for device in predicted["devices"]]
    if len(layers) > 1:
        command += ["--tensor-split", ",".join(str(count) for count in layers)]
    return command


def environment(engine, instance, inherited):
    """The engine's environment: the instance's variables, and the libraries beside the engine as Ollama sets them (LD_LIBRARY_PATH)."""
    directory = os.path.dirname(engine)
    libraries = [directory]
    for name in ("cuda_v13", "cuda_v12"):
        if os.path.isdir(os.path.join(directory, name)):
            libraries.insert(0, os.path.join(directory, name))
    kept = {name: value for name, value in inherited.items() if not name.startswith(("LLAMA_ARG_", "CUDA_", "LD_"))}
    ours = {name: value for name, value in instance["environment"].items() if name not in ("LLAMA_ARG_TENSOR_SPLIT",)}
    return dict(kept, **dict(ours, LD_LIBRARY_PATH=os.pathsep.join(libraries)))


def measure(engine, model_file, instance, model, flash="auto", timeout=60.0):
    """What the engine says that a model takes: {device of the engine ("CUDA0", "Host"): {"self", "model", "context", "compute"}} in bytes.

    Args:
        engine: path of llama-server.
        model_file: path of the GGUF file.
        instance, model: of a plan.
        flash: see `arguments`.
        timeout: seconds for all of it.

    Raises:
        NotMeasured: no such program or file, an engine that ends, hangs or begins to load.
    """
    for path, what in ((engine, "the engine"), (model_file, "the model file")):
        if not os.path.isfile(path):
            raise NotMeasured("there is no %s at %s" % (what[4:], path))
    try:
        # run_command would wait for an engine that hangs, and give it neither a time limit nor another user
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            arguments(engine, model_file, instance, model, flash),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(engine, instance, os.environ),
            cwd="/",
            start_new_session=True,
            preexec_fn=_die_with_parent,
            **_owner(model_file),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotMeasured("the engine %s cannot be started: %s" % (engine, getattr(error, "strerror", None) or error))
    try:
        return _read_table(process, time.monotonic() + timeout, timeout)
    finally:
        _kill(process)


def _owner(path):
    """Popen arguments to run as the owner of the models rather than as root."""
    uid = os.stat(path).st_uid
    if os.geteuid() != 0 or uid == 0:
        return {}
    try:
        account = pwd.getpwuid(uid)
        return {"user": uid, "group": account.pw_gid, "extra_groups": os.getgrouplist(account.pw_name, account.pw_gid)}
    except (KeyError, OSError):
        return {}


def _die_with_parent():
    """In the child: be killed when this process dies, so that nothing is left even if it is killed itself."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        pass


def _read_table(process, deadline, timeout):
    table, last, seen, buffered = None, "", 0, b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise NotMeasured("the engine did not say within %d seconds what it would take" % timeout)
        data = os.read(process.stdout.fileno(), 65536)
        seen += len(data)
        if not data or seen > _MOST_OUTPUT:
            raise NotMeasured("the engine ended before it said what it would take: %s" % (last or "no output"))
        *lines, buffered = (buffered + data).split(b"\n")
        for line in (raw.decode("utf-8", "replace") for raw in lines):
            if _LOADS in line:
                raise NotMeasured("the engine began to load without saying what it would take")
            if journal.is_table_head(line):
                table = {}
                continue
            row = journal.table_row(line) if table is not None else None
            if row and row[1]:
                table[row[0]] = row[1]
                if row[0] == "Host":  # the last row
                    return table
            last = line.strip()[:200] or last


def _kill(process):
    """End the engine and what it may have started; wait until it is gone, but not for one that hangs in the driver."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.stdout.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        pass  # killed already: it goes when the driver lets it
