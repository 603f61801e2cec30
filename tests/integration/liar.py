# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A "Python" on a host that answers in the place of most modules, and adds lies.

The variable LIAR names a JSON file:
    answers: {module: result} of the modules that are not executed
    changes: {module: {key: {key: value}}} that are merged into the results of the others
    lies: {module: {key: value}} that are merged into a result
    padding: {module: bytes} of a further text in a result
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

REAL = ("host_info",)  # only reads
#: What Ansible is told of a module that runs in the background.
JOB = {"ansible_job_id": "1.1", "results_file": "/x", "started": 1}


def answer(module, path, plan):
    """The result of a module, with its lies. In the background, models are fetched."""
    if module == "async_wrapper":
        return dict(JOB, finished=0)
    if module == "async_status":
        return dict(answer("instance_models", path, plan), **JOB, finished=1)
    if module in plan["answers"]:
        result = dict(plan["answers"][module])
    else:
        assert module in REAL, module
        done = subprocess.run([sys.executable, path], stdout=subprocess.PIPE, check=True)
        result = json.loads(done.stdout)
    for key, changes in plan["changes"].get(module, {}).items():
        result[key] = dict(result[key], **changes)
    for key, lies in plan["lies"].get(module, {}).items():
        result[key] = dict(result.get(key) or {}, **lies) if isinstance(lies, dict) else lies
    if module in plan["padding"]:
        result["padding"] = "x" * plan["padding"][module]
    return result


def main():
    path = sys.argv[1]
    module = re.sub(r"^AnsiballZ_|\.py$", "", os.path.basename(path))
    state = pathlib.Path(os.environ["LIAR"])
    with open(state.parent / "asked", "a", encoding="utf-8") as stream:
        stream.write(module + "\n")
    sys.stdout.write(json.dumps(answer(module, path, json.loads(state.read_text(encoding="utf-8")))) + "\n")


if __name__ == "__main__":
    main()
