# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What clients need to know of a plan."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import endpoints
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import (
    EndpointsError,
    endpoints_of_entry,
    plan_endpoints,
)

from tests.unit.plugins.module_utils.changes.builders import model, plan


def listening(address, *models, **more):
    """A plan whose instance listens on an address."""
    found = dict(plan(*(models or [model("tiny")])), **more)
    found["instances"][0]["address"] = address
    return found


def only(found):
    """The only endpoint of a plan's."""
    (endpoint,) = found
    return endpoint


def test_endpoints_tell_the_model_of_an_alias():
    one = model(create_as="x:y-optimized", aliases=["chat", "code:1"])
    assert plan_endpoints(plan(one))["endpoints"][0]["aliases"] == {
        "chat:latest": "x:y-optimized",
        "code:1": "x:y-optimized",
    }


def test_endpoints_name_the_models_as_clients_do():
    found = plan_endpoints(plan(model(create_as="x:y-optimized"), model("tiny", parallel=3, capabilities=["vision"])))
    assert found["ollama_version"] == "0.32.15"
    unknown = dict.fromkeys(["digest", "size_bytes", "memory_bytes", "vram_bytes"])
    serves = {"context_length": None, "resident": True, **unknown}
    assert found["endpoints"] == [
        {
            "instance": "gpu0",
            "url": "http://127.0.0.1:11434",
            "address": "127.0.0.1",
            "listen_address": "127.0.0.1",
            "port": 11434,
            "gpu_uuids": ["GPU-a"],
            "models": ["x:y-optimized", "tiny:latest"],
            "aliases": {},
            "serves": [
                dict(serves, name="x:y-optimized", names=("x:y-optimized", "llama3.1:8b"), slots=1, capabilities=None),
                dict(serves, name="tiny:latest", names=("tiny:latest",), slots=3, capabilities=("vision",)),
            ],
        }
    ]


@pytest.mark.parametrize(
    ("listen", "given", "default", "expected"),
    [
        ("127.0.0.1", None, "192.0.2.7", "127.0.0.1"),
        ("192.0.2.9", None, "192.0.2.7", "192.0.2.9"),
        ("0.0.0.0", None, "192.0.2.7", "192.0.2.7"),
        ("::", None, "2001:db8::7", "2001:db8::7"),
        ("::ffff:0.0.0.0", None, "192.0.2.7", "192.0.2.7"),
        ("0.0.0.0", "gpu1.example", "192.0.2.7", "gpu1.example"),
        ("192.0.2.9", "198.51.100.1", None, "198.51.100.1"),
        # What a host answers is no address for clients of others.
        ("0.0.0.0", None, "127.0.0.1", None),
        ("0.0.0.0", None, "::1", None),
        ("0.0.0.0", None, "0.0.0.0", None),
        ("0.0.0.0", None, "x y", None),
        ("0.0.0.0", None, None, None),
    ],
)
def test_clients_never_get_an_address_that_stands_for_all(listen, given, default, expected):
    one = listening(listen, advertise_address=given)
    entry = plan_endpoints(one, default)["endpoints"][0]
    assert entry["address"] == expected
    if expected is None:
        assert entry["url"] is None
        with pytest.raises(EndpointsError, match="gpu0 of a listens on .*: set ollama_multigpu_advertise_address"):
            endpoints.endpoints("a", one, default)
    else:
        assert only(endpoints.endpoints("a", one, default)).address == expected


def test_an_ipv6_address_has_brackets_in_the_url():
    found = only(endpoints.endpoints("a", listening("::"), "2001:db8::7"))
    assert found.url == "http://[2001:db8::7]:11434"


@pytest.mark.parametrize(
    ("address", "host_only"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("192.0.2.7", False)],
)
def test_only_the_host_itself_reaches_a_loopback_address(address, host_only):
    assert only(endpoints.endpoints("a", listening(address))).host_only is host_only


def test_a_model_is_found_by_each_of_its_names():
    one = model(create_as="x:y-optimized", aliases=["chat"], draft={"name": "small:1b"})
    found = only(endpoints.endpoints("a", plan(one)))
    assert [found.model(name).name for name in ("x:y-optimized", "llama3.1:8b", "CHAT:latest", "small:1b")] == [
        "x:y-optimized"
    ] * 4
    assert found.model("other") is None


def test_slots_of_models_on_demand_do_not_add_up():
    residents = only(endpoints.endpoints("a", plan(model("a", parallel=3), model("b", parallel=2))))
    on_demand = [model("a", parallel=3, resident=False), model("b", parallel=2, resident=False)]
    assert (residents.slots, only(endpoints.endpoints("a", plan(*on_demand))).slots) == (5, 3)


def test_what_is_written_is_read_again():
    one = listening("0.0.0.0", model(aliases=["chat"], parallel=2, context_length=8192, capabilities=["completion"]))
    written = json.loads(json.dumps(plan_endpoints(one, "192.0.2.7")))
    assert endpoints_of_entry("a", written) == endpoints.endpoints("a", one, "192.0.2.7")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", "x y"),
        ("address", "a;\nserver b"),
        ("listen_address", 5),
        ("port", "80;"),
        ("port", 0),
        ("serves", None),
        ("serves", [{"name": "tiny"}]),
        ("serves", ["tiny"]),
        (
            "serves",
            [{"name": "a\nb", "names": [], "slots": 1, "context_length": 1, "capabilities": None, "resident": True}],
        ),
    ],
)
def test_what_no_role_has_written_is_refused(key, value):
    entry = json.loads(json.dumps(plan_endpoints(plan(model("tiny")))))
    changed = copy.deepcopy(entry)
    changed["endpoints"][0][key] = value
    assert endpoints_of_entry("a", entry)
    with pytest.raises(EndpointsError, match="endpoints of a is not what the role ollama_multigpu writes"):
        endpoints_of_entry("a", changed)


def test_an_endpoint_without_an_address_is_refused():
    with pytest.raises(EndpointsError, match="gpu0 of a has no address for clients"):
        endpoints_of_entry("a", plan_endpoints(listening("::"), None))


def test_a_model_has_the_digest_and_the_sizes_of_the_plan():
    device = {"uuid": "GPU-a", "total_bytes": 1000, "overhead_bytes": 300}
    predicted = {"devices": [device, dict(device, uuid="GPU-b")], "host_total_bytes": 50}
    one = plan(model(planned_digest="sha256:" + "ab" * 32, size_bytes=4000, predicted=predicted))
    (served,) = plan_endpoints(one)["endpoints"][0]["serves"]
    sizes = {"digest": "ab" * 32, "size_bytes": 4000, "memory_bytes": 1450, "vram_bytes": 1400}
    assert {name: served[name] for name in sizes} == sizes
    (read,) = only(endpoints_of_entry("a", json.loads(json.dumps(plan_endpoints(one))))).models
    assert {name: getattr(read, name) for name in sizes} == sizes


def test_what_a_host_says_of_digests_and_sizes_is_read_by_its_grammar():
    entry = json.loads(json.dumps(plan_endpoints(plan(model()))))
    served = entry["endpoints"][0]["serves"][0]
    served.update(digest='"}\t' + "a" * 60, size_bytes=-5, memory_bytes="7")
    (read,) = only(endpoints_of_entry("a", entry)).models
    assert (read.digest, read.size_bytes, read.memory_bytes, read.vram_bytes) == (None, 0, 7, None)
    served["size_bytes"] = "x"
    with pytest.raises(EndpointsError):
        endpoints_of_entry("a", entry)
    for name in ("digest", "size_bytes", "memory_bytes", "vram_bytes"):  # facts from before there were any
        del served[name]
    assert only(endpoints_of_entry("a", entry)).models[0].size_bytes is None
