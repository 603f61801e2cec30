# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compile nvml.c into libnvidia-ml.so.1 (needs gcc; two seconds)."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent / "nvml.c"
SONAME = "libnvidia-ml.so.1"


def build_nvml(directory: str | os.PathLike) -> pathlib.Path:
    """Compile the library into `directory`, unless it is newer than the source, and return its path.

    Uses only functions of glibc 2.31 and later, so that a library built on one Debian runs on later ones and on Ubuntu.

    Raises RuntimeError if there is no compiler.
    """
    target = pathlib.Path(directory) / SONAME
    if target.exists() and target.stat().st_mtime >= SOURCE.stat().st_mtime:
        return target
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        raise RuntimeError(
            "The fake libnvidia-ml.so.1 needs a C compiler: run 'apt-get install -y gcc libc6-dev' and try again."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{SONAME}.{os.getpid()}")
    subprocess.run(
        [
            compiler,
            "-std=gnu11",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            f"-Wl,-soname,{SONAME}",
            "-o",
            str(temporary),
            str(SOURCE),
        ],
        check=True,
    )
    temporary.replace(target)
    return target


if __name__ == "__main__":
    print(build_nvml(sys.argv[1]))
