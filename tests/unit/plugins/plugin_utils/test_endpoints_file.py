# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file with the endpoints of all hosts: each host enters its own, and keeps those of the others."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import plan_endpoints
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints_file import EndpointsFile, EndpointsFileError

from tests.unit.plugins.module_utils.changes.builders import model, plan


def entry(address, *models, listening="0.0.0.0"):
    """What a host serves."""
    one = plan(*(models or (model(context_length=8192, parallel=2),)))
    one["instances"][0]["address"] = listening
    return plan_endpoints(one, address)


def enter(place, host, found, known=(), is_check=False):
    """Whether the file differs when a host enters it."""
    return EndpointsFile(str(place)).enter(host, found, known, is_check)


def hosts(place):
    return {
        host: [one["url"] for one in found["endpoints"]]
        for host, found in json.loads(place.read_text())["hosts"].items()
    }


def test_hosts_enter_one_file(tmp_path):
    place = tmp_path / "new" / "endpoints.json"
    assert enter(place, "a", entry("192.0.2.1"), is_check=True) and not place.parent.exists()
    assert enter(place, "a", entry("192.0.2.1"))
    assert enter(place, "b", entry("192.0.2.2"))
    assert not enter(place, "a", entry("192.0.2.1"))
    assert hosts(place) == {"a": ["http://192.0.2.1:11434"], "b": ["http://192.0.2.2:11434"]}
    assert json.loads(place.read_text())["models"]["llama3.1:8b"]["replicas"] == 2
    assert enter(place, "a", entry("192.0.2.9"), is_check=True) and hosts(place)["a"] == ["http://192.0.2.1:11434"]
    assert enter(place, "a", None)
    assert list(hosts(place)) == ["b"]
    assert os.listdir(place.parent) == ["endpoints.json"]


def test_a_host_that_is_not_in_the_inventory_any_more_is_left_out(tmp_path):
    place = tmp_path / "endpoints.json"
    enter(place, "old", entry("192.0.2.1"))
    enter(place, "a", entry("192.0.2.2"), known=["a", "b"])
    assert list(hosts(place)) == ["a"]


def test_nothing_is_written_for_a_host_that_has_served_nothing(tmp_path):
    assert not enter(tmp_path / "endpoints.json", "a", None) and not list(tmp_path.iterdir())


def _enter_often(place, number):
    for unused in range(10):
        enter(place, "host%d" % number, entry("192.0.2.%d" % number))


def test_hosts_that_enter_at_the_same_time_lose_nothing(tmp_path):
    place = tmp_path / "endpoints.json"
    forks = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(6, mp_context=forks) as pool:
        list(pool.map(_enter_often, [place] * 6, range(1, 7)))
    assert sorted(hosts(place)) == ["host%d" % number for number in range(1, 7)]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 1, "hosts": {"a": {}}}', '{"version": 9, "hosts": {}}']
)
def test_a_file_of_others_is_left_alone(tmp_path, content):
    place = tmp_path / "endpoints.json"
    place.write_text(content)
    with pytest.raises(EndpointsFileError, match="Move it away, or give another path as ollama_multigpu_endpoints_f"):
        EndpointsFile(str(place)).check()
    with pytest.raises(EndpointsFileError):
        enter(place, "a", entry("192.0.2.1"))
    assert place.read_text() == content


def test_an_instance_without_an_address_is_not_entered(tmp_path):
    with pytest.raises(EndpointsFileError, match="set ollama_multigpu_advertise_address"):
        enter(tmp_path / "endpoints.json", "a", entry(None))


def test_a_place_that_cannot_be_written_is_told_before(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        EndpointsFileError, match="file is not a directory. Set ollama_multigpu_endpoints_file to the p"
    ):
        EndpointsFile(str(tmp_path / "file" / "x.json")).check()
