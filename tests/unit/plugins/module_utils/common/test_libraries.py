# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Where the modules' libraries are found, on an interpreter without any package of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import libraries
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.library_copies import LibraryCopy, write_archive

# -S: no site-packages, so nothing but the standard library, as on a host of the rig.
PROGRAM = """
import json, sys, threading
sys.path[:0] = json.loads(sys.argv[1])
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import libraries
libraries.PERMANENT_DIRECTORY = sys.argv[2]
found = []
def look():
    try:
        found.append(getattr(libraries, sys.argv[3])().__file__)
    except libraries.LibraryMissing as missing:
        found.append(missing.as_failure())
threads = [threading.Thread(target=look) for number in range(int(sys.argv[4]))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(found))
"""
COLLECTION = next(
    path
    for path in sys.path
    if os.path.isdir(os.path.join(path, "ansible_collections", "gpufleet", "ollama", "plugins"))
)


def look(function, own=(), permanent="/nonexistent", sent=None, threads=1):
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", libraries.LIBRARIES_VARIABLE)
    }
    if sent:
        environment[libraries.LIBRARIES_VARIABLE] = str(sent)
    arguments = [json.dumps([COLLECTION] + [str(path) for path in own]), str(permanent), function, str(threads)]
    answer = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM] + arguments, stdout=subprocess.PIPE, env=environment, check=True
    )
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("archive") / "libraries.zip")
    write_archive([LibraryCopy("requests"), LibraryCopy("nvidia-ml-py")], path)
    return path


@pytest.fixture(scope="module")
def directory(archive, tmp_path_factory):
    place = tmp_path_factory.mktemp("permanent")
    with zipfile.ZipFile(archive) as content:
        content.extractall(place)
    return place


def package(place, name, text):
    (place / name).mkdir(parents=True)
    (place / name / "__init__.py").write_text(text)
    return place


@pytest.mark.parametrize(
    "function, name, package_name",
    [("import_requests", "requests", "python3-requests"), ("import_pynvml", "nvidia-ml-py", "python3-pynvml")],
)
def test_a_library_that_is_nowhere(function, name, package_name):
    (failure,) = look(function)
    assert failure["missing_library"] == name
    assert failure["python_version"].startswith("3.")
    assert name in failure["msg"] and package_name in failure["msg"] and sys.executable in failure["msg"]


@pytest.mark.parametrize(
    "function, file", [("import_requests", "requests/__init__.py"), ("import_pynvml", "pynvml.py")]
)
def test_the_copy_sent_along_is_used_from_its_archive(archive, function, file):
    assert look(function, sent=archive) == [os.path.join(archive, file)]


def test_the_permanent_copy_is_used(directory):
    assert look("import_requests", permanent=directory) == [str(directory / "requests" / "__init__.py")]


def test_the_copy_sent_along_goes_before_the_permanent_one(archive, directory):
    assert look("import_pynvml", sent=archive, permanent=directory) == [os.path.join(archive, "pynvml.py")]


def test_the_hosts_own_library_goes_before_all(tmp_path, archive):
    own = package(tmp_path, "requests", "")
    (own / "requests" / "exceptions.py").write_text("")
    assert look("import_requests", own=[own], sent=archive) == [str(own / "requests" / "__init__.py")]


def test_a_stale_pynvml_is_passed_over(tmp_path, archive):
    own = package(tmp_path, "pynvml", "def nvmlInit():\n    pass\n")
    assert look("import_pynvml", own=[own], sent=archive) == [os.path.join(archive, "pynvml.py")]


def test_a_stale_pynvml_is_named_when_there_is_nothing_better(tmp_path):
    own = package(tmp_path, "pynvml", "def nvmlInit():\n    pass\n")
    (failure,) = look("import_pynvml", own=[own])
    assert "remove the PyPI package pynvml" in failure["msg"] and str(own) in failure["msg"]


def test_a_binding_in_python_2_is_passed_over(tmp_path, archive):
    """nvidia-ml-py 7.352.0, as in Ubuntu 22.04."""
    (tmp_path / "pynvml.py").write_text("print 'hello'\n")
    assert look("import_pynvml", own=[tmp_path], sent=archive) == [os.path.join(archive, "pynvml.py")]


def test_a_library_that_breaks_while_it_loads_is_passed_over_whole(tmp_path, archive):
    own = package(tmp_path, "requests", "import urllib3\n")
    package(tmp_path, "urllib3", "int | None | 1 / 0\n")
    assert look("import_requests", own=[own], sent=archive) == [os.path.join(archive, "requests/__init__.py")]


def test_threads_may_look_at_the_same_time(directory):
    assert look("import_requests", permanent=directory, threads=8) == [str(directory / "requests" / "__init__.py")] * 8


def test_a_copy_is_pure_python():
    for name in ("requests", "nvidia-ml-py"):
        copy = LibraryCopy(name)
        assert copy.files and {path.rsplit(".", 1)[1] for path in copy.files} <= {"py", "pem"}
        assert {path.split("/")[0] for path in copy.files} <= set(libraries.TOP_LEVEL[name])
    assert "certifi/cacert.pem" in LibraryCopy("requests").files


def test_an_archive_is_the_same_each_time(tmp_path):
    for number in (1, 2):
        write_archive([LibraryCopy("nvidia-ml-py")], str(tmp_path / str(number)))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_copy_says_which_python_it_is_too_new_for():
    copy = LibraryCopy("requests")
    assert copy.too_new_for("%d.%d.%d" % sys.version_info[:3]) is None
    distribution, version, requires = copy.too_new_for("3.4.1")
    assert distribution and version and requires.startswith(">=")
    assert LibraryCopy("nvidia-ml-py").too_new_for("3.4.1") is None
