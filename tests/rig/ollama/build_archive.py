# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Build the release archive of the double, reproducibly: ollama-linux-amd64.tar.zst and sha256sum.txt.

    python3 tests/rig/ollama/build_archive.py DIRECTORY [--version 0.32.15] [--engine PROGRAM]
                                                        [--archive REAL | --as-release | --fault FAULT]

--engine is the program that is used as lib/ollama/llama-server. With --archive (default: $OLLAMA_ARCHIVE), the real
release is repacked with the stand-in instead of its llama-server, and contains no double. With --as-release, the double
gets the files of a real release around it, so that it can be given as --archive. With --fault, the double is a release
that fails (double/version.py has the list). Needs the `zstd` program.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import typing
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
NAME = "ollama-linux-amd64.tar.zst"
ENGINE = "lib/ollama/llama-server"
CUDA = ("lib/ollama/cuda_v12/libggml-cuda.so", "lib/ollama/cuda_v13/libggml-cuda.so")
#: What a release of Ollama (0.30 and later, amd64) has besides: files without content, and links to them.
RELEASE_FILES = ("llama-quantize", "libggml-base.so.0.15.3", "libggml-cpu-haswell.so", "libllama.so.0.0.11669")
RELEASE_FILES += ("cuda_v12/libcublas.so.12.8.4.1", "cuda_v13/libcublas.so.13.1.0.3", "vulkan/libggml-vulkan.so")
RELEASE_LINKS = {"libggml-base.so": "libggml-base.so.0", "libggml-base.so.0": "libggml-base.so.0.15.3"}
RELEASE_LINKS.update({"libllama.so": "libllama.so.0.0.11669", "cuda_v12/libcublas.so.12": "libcublas.so.12.8.4.1"})
RELEASE_ENGINE = b"#!/bin/sh\necho 'the rig puts its engine stand-in here' >&2\nexit 1\n"
#: How a release can fail. double/version.py says what each does.
FAULTS = ("does-not-start", "answers-500", "loads-onto-the-cpu", "engine-dies", "wrong-version", "half-speed")
FAULTS += ("engine-dies-after-60", "wrong-version-text", "broken-archive")
_SHEBANG = b"#!/usr/bin/python3\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip knows no earlier time


def zipapp(version: str, fault: str = "") -> bytes:
    """bin/ollama: the double as one executable file that reports `version` and has a fault of FAULTS, or none."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((HERE / "double").glob("*.py")):
            text = path.read_bytes()
            if path.name == "version.py":
                text = ('"""Written by build_archive.py."""\nVERSION, FAULT = "%s", "%s"\n' % (version, fault)).encode()
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


def _double(archive: tarfile.TarFile, version: str, engine: bytes, fault: str) -> None:
    for folder in ("bin", "lib", "lib/ollama", "lib/ollama/cuda_v12", "lib/ollama/cuda_v13"):
        entry = tarfile.TarInfo(folder)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(entry)
    _add(archive, "bin/ollama", zipapp(version, fault), 0o755)
    _add(archive, ENGINE, engine, 0o755)
    for name in CUDA:
        _add(archive, name, b"", 0o644)


def _release(archive: tarfile.TarFile, version: str) -> None:
    """The double in the layout of a real release: names that begin with ./, libraries, links, another engine."""
    for name, data in (("bin/ollama", zipapp(version)), (ENGINE, RELEASE_ENGINE)):
        _add(archive, "./" + name, data, 0o755)
    for name in (*CUDA, *("lib/ollama/" + name for name in RELEASE_FILES)):
        _add(archive, "./" + name, b"", 0o755)
    for name, target in RELEASE_LINKS.items():
        entry = tarfile.TarInfo("./lib/ollama/" + name)
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        archive.addfile(entry)


@contextlib.contextmanager
def _opened(packed: pathlib.Path, whole: bool) -> typing.Iterator[tarfile.TarFile]:
    """The tar archive in a .tar.zst or .tar.gz, to be read once from its beginning; `whole`: to its end."""
    command = ["zstd", "-dc", str(packed)] if packed.name.endswith(".zst") else ["gzip", "-dc", str(packed)]
    refused = "%s is no archive that %s can read" % (packed, command[0])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpack:
        try:
            with tarfile.open(fileobj=unpack.stdout, mode="r|") as source:
                yield source
            if whole and (unpack.stdout.read(), unpack.wait())[1]:
                raise SystemExit(refused)
        except tarfile.TarError as error:
            raise SystemExit(refused) from error
        finally:
            unpack.kill()


def version_of(real: pathlib.Path) -> str:
    """The version of a release's archive, which its own bin/ollama says."""
    with tempfile.TemporaryDirectory(prefix="gpufleet-archive-") as folder:
        program = pathlib.Path(folder) / "ollama"
        with _opened(real, whole=False) as source:
            for entry in source:
                if entry.isreg() and entry.name.removeprefix("./") == "bin/ollama":
                    program.write_bytes(source.extractfile(entry).read())
                    break
            else:
                raise SystemExit("%s has no bin/ollama: it is no archive of a release of Ollama" % real)
        program.chmod(0o755)
        try:
            # Port 1 has no server, so the program tells its own version.
            environment = dict(os.environ, OLLAMA_HOST="127.0.0.1:1", HOME=folder)
            said = subprocess.run([program, "-v"], env=environment, capture_output=True, text=True, check=False).stdout
        except OSError as error:
            raise SystemExit("bin/ollama of %s does not run here: %s" % (real, error)) from error
    found = re.search(r"version is v?(\S+)", said)
    if not found:
        raise SystemExit("bin/ollama of %s does not tell its version: %s" % (real, said.strip() or "no output"))
    return found[1]


def _repacked(archive: tarfile.TarFile, real: pathlib.Path, engine: bytes) -> None:
    """The real release with another engine and without its CUDA libraries
    (gigabytes that the stand-in does not need).
    """
    with _opened(real, whole=True) as source:
        for entry in source:
            name = entry.name.removeprefix("./")
            if name == ENGINE or name.startswith(("lib/ollama/cuda_", "lib/ollama/vulkan", "lib/ollama/mlx")):
                continue
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
            archive.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
    _add(archive, ENGINE, engine, 0o755)
    for name in CUDA:
        _add(archive, name, b"", 0o644)


def build(
    directory: pathlib.Path,
    version: str = "0.32.15",
    engine: pathlib.Path | None = None,
    real: pathlib.Path | None = None,
    as_release: bool = False,
    fault: str = "",
) -> pathlib.Path:
    """Write the archive and its sha256sum.txt into `directory`; returns the archive's path.

    Args:
        directory: of the archive.
        version: of the double.
        engine: the program for lib/ollama/llama-server; None = the stand-in.
        real: the archive of a release, which is repacked; None = the double.
        as_release: the double with the files of a real release around it, and without the stand-in.
        fault: one of FAULTS, for the double.
    """
    known = [re.sub(r"-\d+$", "-N", name) for name in FAULTS]  # any number of seconds
    if fault and (re.sub(r"-\d+$", "-N", fault) not in known or real or as_release):
        raise SystemExit("%s is no fault of the double; it has %s" % (fault, ", ".join(FAULTS)))
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / NAME
    with tempfile.TemporaryFile(dir=directory) as plain:
        with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as archive:
            if real:
                _repacked(archive, real, _engine(engine))
            elif as_release:
                _release(archive, version)
            else:
                _double(archive, version, _engine(engine), fault)
        plain.seek(0)
        with open(target, "wb") as packed:
            subprocess.run(["zstd", "-q", "-3", "--single-thread", "-c"], stdin=plain, stdout=packed, check=True)
    if fault == "broken-archive":
        os.truncate(target, target.stat().st_size // 2)
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
    parser.add_argument("--as-release", action="store_true")
    parser.add_argument("--fault", default="")
    given = parser.parse_args()
    real = pathlib.Path(given.archive) if given.archive and not (given.as_release or given.fault) else None
    print(build(given.directory, given.version, given.engine, real, given.as_release, given.fault))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[2]))
    sys.exit(main())
