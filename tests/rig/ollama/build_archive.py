# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Build the release archive of the double, reproducibly: ollama-linux-amd64.tar.zst and sha256sum.txt.

    python3 tests/rig/ollama/build_archive.py DIRECTORY [--version 0.32.15] [--engine PROGRAM] [--archive REAL]

--engine is the program that is used as lib/ollama/llama-server. With --archive (default: $OLLAMA_ARCHIVE), the real
release is repacked with the stand-in instead of its llama-server, and contains no double. Needs the `zstd` program.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
NAME = "ollama-linux-amd64.tar.zst"
ENGINE = "lib/ollama/llama-server"
CUDA = ("lib/ollama/cuda_v12/libggml-cuda.so", "lib/ollama/cuda_v13/libggml-cuda.so")
_SHEBANG = b"#!/usr/bin/python3\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip knows no earlier time


def zipapp(version: str) -> bytes:
    """bin/ollama: the double as one executable file that reports `version`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((HERE / "double").glob("*.py")):
            text = path.read_bytes()
            if path.name == "version.py":
                text = ('"""Written by build_archive.py."""\nVERSION = "%s"\n' % version).encode()
            name = path.name if path.name == "__main__.py" else "double/" + path.name
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    return _SHEBANG + buffer.getvalue()


def _engine(program: pathlib.Path | None) -> bytes:
    """The bytes of lib/ollama/llama-server: the given program, or the stand-in of the checkout."""
    if program:
        return program.read_bytes()
    from tests.rig.engine.build import build_engine  # needs the checkout on sys.path; a given program does not

    with tempfile.TemporaryDirectory() as folder:
        return build_engine(pathlib.Path(folder) / "llama-server").read_bytes()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def _double(archive: tarfile.TarFile, version: str, engine: bytes) -> None:
    for folder in ("bin", "lib", "lib/ollama", "lib/ollama/cuda_v12", "lib/ollama/cuda_v13"):
        entry = tarfile.TarInfo(folder)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(entry)
    _add(archive, "bin/ollama", zipapp(version), 0o755)
    _add(archive, ENGINE, engine, 0o755)
    for name in CUDA:
        _add(archive, name, b"", 0o644)


def _repacked(archive: tarfile.TarFile, real: pathlib.Path, engine: bytes) -> None:
    """The real release with another engine and without its CUDA libraries
    (gigabytes that the stand-in does not need).
    """
    command = ["zstd", "-dc", str(real)] if real.name.endswith(".zst") else ["gzip", "-dc", str(real)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as source:
            for entry in source:
                name = entry.name[2:] if entry.name.startswith("./") else entry.name
                if name == ENGINE or name.startswith(("lib/ollama/cuda_", "lib/ollama/vulkan", "lib/ollama/mlx")):
                    continue
                entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
                archive.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
    if unpack.returncode:
        raise SystemExit("%s is no archive that %s can read" % (real, command[0]))
    _add(archive, ENGINE, engine, 0o755)
    for name in CUDA:
        _add(archive, name, b"", 0o644)


def build(
    directory: pathlib.Path,
    version: str = "0.32.15",
    engine: pathlib.Path | None = None,
    real: pathlib.Path | None = None,
) -> pathlib.Path:
    """Write the archive and its sha256sum.txt into `directory`; returns the archive's path."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / NAME
    with tempfile.TemporaryFile(dir=directory) as plain:
        with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as archive:
            if real:
                _repacked(archive, real, _engine(engine))
            else:
                _double(archive, version, _engine(engine))
        plain.seek(0)
        with open(target, "wb") as packed:
            subprocess.run(["zstd", "-q", "-3", "--single-thread", "-c"], stdin=plain, stdout=packed, check=True)
    digest = hashlib.sha256()
    with open(target, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    (directory / "sha256sum.txt").write_text("%s  ./%s\n" % (digest.hexdigest(), NAME), encoding="ascii")
    return target


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--version", default="0.32.15")
    parser.add_argument("--engine", type=pathlib.Path)
    parser.add_argument("--archive", type=pathlib.Path, default=os.environ.get("OLLAMA_ARCHIVE"))
    given = parser.parse_args()
    print(build(given.directory, given.version, given.engine, pathlib.Path(given.archive) if given.archive else None))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[2]))
    sys.exit(main())
