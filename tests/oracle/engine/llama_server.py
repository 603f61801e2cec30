# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""llama-server itself as the referee: Ollama starts it from 0.30 on. It is stopped before it loads anything.

Before it loads, it builds the model without memory and prints what each device would hold, also where its fit has
nothing to decide because layers are given. This takes a tenth of a second. Its log says how many rows of logits it has
room for (`n_outputs_max`), which llama-fit-params does not limit.
"""

from __future__ import annotations

import re
import subprocess
import threading

from tests.oracle.engine import sandbox

TABLE = re.compile(
    r"common_memory_breakdown_print: \|   - (RPC\d+|Vulkan\d+|Host) "
    r".*?(?:\(\s*\d+|\d+) =\s+(\d+) \+\s+(\d+) \+\s+(\d+)\)?"
)
OUTPUTS = re.compile(r"llama_context: n_outputs_max\s+= (\d+)")
FITTED = re.compile(
    r"common_params_fit_impl:   - (RPC\d+) .*?:\s+(\d+) layers(?: \(\s*(\d+) overflowing\))?,\s+(\d+) MiB used"
)
LAST_ROW = "common_memory_breakdown_print: |   - Host "
LOADS = "no_alloc              = 0"
SECONDS = 120  # the longest dry run


def output(arguments, ends, root=sandbox.ROOT, environment=(), verbosity=4):
    """(what llama-server prints up to a line that has one of the texts `ends`, its exit code): it is stopped there."""
    command = ["nice", "-n", "10", "chroot", str(root), "env"] + list(environment)
    command += ["llama-server", "--host", "127.0.0.1", "--port", "0", "-lv", str(verbosity)] + arguments
    text = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        latest = threading.Timer(SECONDS, running.kill)  # a server that hangs prints nothing
        latest.start()
        for line in running.stdout:
            text.append(line)
            if any(end in line for end in ends):
                break
        latest.cancel()
        running.kill()
    return "".join(text), running.returncode


def table(text):
    """{device: [weights, KV, compute] in MiB} of the last table in a text."""
    return {name: [int(value) for value in values] for name, *values in TABLE.findall(text)}


def dry_run(devices, row):
    """As sandbox.dry_run, by llama-server as Ollama starts it, with `n_outputs_max` beside it.

    `row["kv_unified"]`: LLAMA_ARG_KV_UNIFIED in its environment; `row["embedding"]`: whether it is told to embed.
    """
    text, code = output(
        sandbox.arguments(devices, row) + (["--embedding"] if row.get("embedding") else []),
        (LAST_ROW, LOADS),
        environment=["LLAMA_ARG_KV_UNIFIED=%d" % row["kv_unified"]],
        verbosity=5,
    )
    found = sandbox.answer(text, table(text), code)
    if not isinstance(found, str):
        found["n_outputs_max"] = int(OUTPUTS.findall(text)[-1])
    return found


def fit(devices, row):
    """What the server's fit chooses where nothing is given about layers, or its error as text.

    Returns:
        {changed: False, used_mib} where the model fits as it is, else {changed: True, layers, overflowing, used_mib}
        with a figure per device; overflowing: layers with weights elsewhere.
    """
    text, code = output(sandbox.settings(devices, row), (LOADS,))
    count = len(row["devices_mib"])
    if "no changes needed" in text:
        found = table(text[: text.index("no changes needed")])
        return {"changed": False, "used_mib": [sum(found["RPC%d" % index]) for index in range(count)]}
    fitted = {name: [int(value or 0) for value in values] for name, *values in FITTED.findall(text)}
    if "successfully fit params" not in text or len(fitted) != count:
        return "no fit (exit %s): %s" % (code, text[-200:])
    layers, overflowing, used = zip(*(fitted["RPC%d" % index] for index in range(count)))
    return {"changed": True, "layers": list(layers), "overflowing": list(overflowing), "used_mib": list(used)}
