# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Build the stand-in as one executable file that replaces lib/ollama/llama-server."""

from __future__ import annotations

import os
import pathlib
import stat
import zipfile

RIG = pathlib.Path(__file__).resolve().parent.parent
FIXED_TIME = (2026, 1, 1, 0, 0, 0)  # the same input gives the same bytes
MAIN = (
    "import os, sys\nfrom tests.rig.engine import program\nsys.stdout.reconfigure(line_buffering=True)\n"
    "status = program.main(sys.argv[1:], os.environ)\nsys.stdout.flush()\nos._exit(status)\n"
)


def files() -> dict[str, bytes]:
    """{name in the archive: content}."""
    content = {"__main__.py": MAIN.encode()}
    content.update(
        (name + "/__init__.py", b"") for name in ("tests", "tests/rig", "tests/rig/gpus", "tests/rig/models")
    )
    for path in sorted((RIG / "engine").glob("*.py")):
        if path.name not in ("build.py", "__main__.py"):
            content["tests/rig/engine/" + path.name] = path.read_bytes()
    rows = sorted("engine/" + path.name for path in (RIG / "engine").glob("*-rows.json"))
    for name in (*rows, "models/models.json", "gpus/state.py"):
        content["tests/rig/" + name] = (RIG / name).read_bytes()
    return content


def build_engine(target: str | os.PathLike, interpreter: str = "/usr/bin/python3") -> pathlib.Path:
    """Write the zipapp (mode 0755) and return its path; needs Python 3.9 or newer where it runs."""
    target = pathlib.Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as stream:
        stream.write(b"#!%s\n" % interpreter.encode())
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in files().items():
                entry = zipfile.ZipInfo(name, FIXED_TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
                archive.writestr(entry, data)
    target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return target
