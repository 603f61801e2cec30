# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The release archive: layout, reproducible bytes, another version, and a repacked real archive."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile

import pytest

from tests.rig.ollama import build_archive

pytestmark = pytest.mark.skipif(not shutil.which("zstd"), reason="the zstd program is not installed")


def unpack(archive, directory):
    """{path: bytes} of the files, unpacked into `directory`."""
    directory.mkdir()
    data = subprocess.run(["zstd", "-dc", str(archive)], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(directory)
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_double(tmp_path):
    """bin/ollama runs and prints its version. A second build has the same bytes, and the checksum file matches."""
    first, second = (build_archive.build(tmp_path / name, "0.33.0") for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a" / "sha256sum.txt").read_text() == "%s  ./ollama-linux-amd64.tar.zst\n" % hashlib.sha256(
        first.read_bytes()
    ).hexdigest()
    files = unpack(first, tmp_path / "tree")
    assert sorted(files) == [
        "bin/ollama",
        "lib/ollama/cuda_v12/libggml-cuda.so",
        "lib/ollama/cuda_v13/libggml-cuda.so",
        "lib/ollama/llama-server",
    ]
    assert files["bin/ollama"].startswith(b"#!/usr/bin/python3\n")
    environment = dict(os.environ, OLLAMA_HOST="127.0.0.1:1")
    done = subprocess.run(
        [str(tmp_path / "tree" / "bin" / "ollama"), "-v"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "Warning: client version is 0.33.0"


@pytest.mark.parametrize("prefix", ["", "./"])
def test_repacked(tmp_path, prefix):
    """A repacked archive keeps everything except the engine and the GPU libraries."""
    plain = tmp_path / "real.tar"
    with tarfile.open(plain, "w") as tar:
        for name, data in (
            ("bin/ollama", b"real"),
            ("lib/ollama/llama-server", b"real engine"),
            ("lib/ollama/libggml-base.so", b"base"),
            ("lib/ollama/cuda_v13/libggml-cuda.so", b"large"),
            ("lib/ollama/vulkan/libggml-vulkan.so", b"vulkan"),
        ):
            entry = tarfile.TarInfo(prefix + name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    subprocess.run(["zstd", "-q", str(plain)], check=True)
    engine = tmp_path / "stand-in"
    engine.write_bytes(b"stand-in")
    files = unpack(
        build_archive.build(tmp_path / "out", engine=engine, real=tmp_path / "real.tar.zst"), tmp_path / "tree"
    )
    assert files == {
        "bin/ollama": b"real",
        "lib/ollama/llama-server": b"stand-in",
        "lib/ollama/libggml-base.so": b"base",
        "lib/ollama/cuda_v12/libggml-cuda.so": b"",
        "lib/ollama/cuda_v13/libggml-cuda.so": b"",
    }


def test_the_double_as_a_release_is_an_archive_that_can_be_repacked(tmp_path):
    """What `make real` runs over where it has no real archive: the layout, the version, and no engine that works."""
    release = build_archive.build(tmp_path / "release", "0.34.1", as_release=True)
    assert build_archive.version_of(release) == "0.34.1"
    before = unpack(release, tmp_path / "before")
    assert before["lib/ollama/llama-server"] == build_archive.RELEASE_ENGINE
    assert (tmp_path / "before/lib/ollama/libggml-base.so").is_symlink()
    engine = tmp_path / "stand-in"
    engine.write_bytes(b"stand-in")
    files = unpack(build_archive.build(tmp_path / "out", engine=engine, real=release), tmp_path / "tree")
    assert files["lib/ollama/llama-server"] == b"stand-in"
    assert files["bin/ollama"] == before["bin/ollama"]
    assert not [name for name in files if "vulkan" in name or "cublas" in name]
    assert (tmp_path / "tree/lib/ollama/libggml-base.so.0").is_symlink()


@pytest.mark.parametrize(
    "files, words",
    [
        ({"lib/ollama/llama-server": b""}, "no bin/ollama"),
        ({"bin/ollama": b"\x7fELF"}, "does not run here"),
        ({"bin/ollama": b"#!/bin/sh\necho hello\n"}, "does not tell its version: hello"),
        (None, "no archive that zstd can read"),
    ],
)
def test_what_is_no_release_is_refused_with_the_reason(tmp_path, files, words):
    plain, packed = tmp_path / "x.tar", tmp_path / "x.tar.zst"
    with tarfile.open(plain, "w") as tar:
        for name, data in (files or {}).items():
            entry = tarfile.TarInfo("./" + name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    if files:
        subprocess.run(["zstd", "-q", str(plain)], check=True)
    else:
        packed.write_bytes(b"this is no archive")
    with pytest.raises(SystemExit, match=words):
        build_archive.version_of(packed)


#: The install stage refuses these; it takes the others, which fail when they serve.
REFUSED = ("wrong-version-text", "broken-archive")


@pytest.mark.parametrize("fault", [fault for fault in build_archive.FAULTS if fault not in REFUSED])
def test_a_release_that_fails_says_its_version(tmp_path, fault):
    unpack(build_archive.build(tmp_path / "out", "0.33.0", fault=fault), tmp_path / "tree")
    program = str(tmp_path / "tree" / "bin" / "ollama")
    environment = dict(os.environ, OLLAMA_HOST="127.0.0.1:1", HOME=str(tmp_path))
    done = subprocess.run([program, "-v"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "Warning: client version is 0.33.0"
    if fault == "does-not-start":
        done = subprocess.run([program, "serve"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "does not start" in done.stderr


def test_a_release_that_says_another_version(tmp_path):
    unpack(build_archive.build(tmp_path / "out", "0.33.0", fault="wrong-version-text"), tmp_path / "tree")
    environment = dict(os.environ, OLLAMA_HOST="127.0.0.1:1", HOME=str(tmp_path))
    program = str(tmp_path / "tree" / "bin" / "ollama")
    done = subprocess.run([program, "-v"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "Warning: client version is 0.0.1"


def test_an_archive_that_ends_in_its_middle_has_the_checksum_of_what_is_there(tmp_path):
    path = build_archive.build(tmp_path, "0.33.0", fault="broken-archive")
    (line,) = (tmp_path / "sha256sum.txt").read_text(encoding="ascii").splitlines()
    assert line.split()[0] == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(SystemExit, match="no archive that zstd can read"):
        build_archive.version_of(path)


def test_the_seconds_of_a_fault_are_any_number(tmp_path):
    build_archive.build(tmp_path, "0.33.0", fault="engine-dies-after-4")
    for wrong in ("engine-dies-after-soon", "half-speed-3"):
        with pytest.raises(SystemExit, match="no fault of the double"):
            build_archive.build(tmp_path, fault=wrong)


def test_an_unknown_fault_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no fault of the double"):
        build_archive.build(tmp_path, fault="burns")
