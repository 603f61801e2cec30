# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Paths, units and stores on a host."""

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths


@pytest.mark.parametrize("name", ["gpu0", "gpu0-1", "gpu0b", "cpu", "gpu1m1a2b3c4d"])
def test_an_instance_and_its_unit_name_each_other(name):
    assert paths.unit(name) == "ollama@%s.service" % name
    assert paths.instance_of(paths.unit(name)) == name


@pytest.mark.parametrize(
    "unit", ["ollama.service", "ollama@.service", "ollama@gpu0.service.d", "other@gpu0.service", "", None]
)
def test_other_units_are_no_instances(unit):
    assert paths.instance_of(unit) is None


@pytest.mark.parametrize("models_dir", ["/srv/models", "/srv/models/"])
def test_a_store_lies_below_the_models_directory(models_dir):
    store = paths.store(models_dir, "gpu0-1")
    assert store == "/srv/models/instances/gpu0-1"
    assert paths.manifests(store) == "/srv/models/instances/gpu0-1/manifests"
    digest = "a" * 64
    assert paths.blob(store, "sha256:" + digest) == "/srv/models/instances/gpu0-1/blobs/sha256-" + digest


def test_a_release_is_marked_as_complete_inside_its_directory():
    assert paths.release_marker("0.32.15") == paths.RELEASES + "/0.32.15/.complete"


def test_a_host_of_a_test_has_its_paths_below_another_root():
    assert paths.below("/", paths.PLAN) == "/etc/ollama-multigpu/plan.json"
    assert paths.below("/tmp/host", paths.PLAN) == "/tmp/host/etc/ollama-multigpu/plan.json"


@pytest.mark.parametrize("path", ["/srv/models", "/srv/models/", "/var/lib/a-b_c.d+e@1"])
def test_a_models_directory(path):
    assert paths.models_dir_problem(path) is None


@pytest.mark.parametrize(
    "path, words",
    [
        ("models", "absolute"),
        ("", "absolute"),
        ("/", "absolute"),
        ("/srv//models", "absolute"),
        ("/srv/../etc", "without '..'"),
        ("/a b", "' '"),
        ("/%h", "'%'"),
        ("/a\n", repr("\n")),
        ("/{{ x }}", "' ' and '{' and '}'"),
        ("/srv/mod\u00e8les", "letters, digits"),
    ],
)
def test_a_path_that_cannot_hold_the_models(path, words):
    assert words in paths.models_dir_problem(path)


@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "/etc/models",
        "/usr/lib",
        "/home/",
        "/var/lib",
        "/proc/1/root",
        "/run/x",
        "/tmp/models",
        "/var/./tmp/x",
        "/dev/shm",
    ]
    + [paths.CONFIGURATION, paths.INSTALLATION],
)
def test_directories_of_the_system_hold_no_models(path):
    assert "is a directory of the system or below one" in paths.models_dir_problem(path)


@pytest.mark.parametrize(
    "path", [paths.DEFAULT_MODELS_DIR, "/srv/models", "/home/models", "/mnt/disk", "/tmpfs/x", "/data"]
)
def test_directories_beside_those_of_the_system_may(path):
    assert paths.models_dir_problem(path) is None


def test_a_kept_plan_has_copies_of_the_files_in_force():
    assert paths.kept_files(3, ["gpu0"]) == {
        "/etc/ollama-multigpu/plan.json": "/etc/ollama-multigpu/plans/3/plan.json",
        "/etc/systemd/system/ollama@.service": "/etc/ollama-multigpu/plans/3/ollama@.service",
        "/etc/ollama-multigpu/instances/gpu0.env": "/etc/ollama-multigpu/plans/3/instances/gpu0.env",
    }
