# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which GPUs a release uses, by compute capability, driver and the library that is asked for."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import engine_table, libraries

NEWEST = (0, 32, 15)


@pytest.mark.parametrize(
    "version, capability, driver, names",
    [
        # llama/server/CMakePresets.json of v0.32.1 and v0.32.2: 100 is new in cuda_v12.
        ((0, 32, 1), (10, 0), 570, ()),
        ((0, 32, 1), (10, 0), 580, ("cuda_v13",)),
        ((0, 32, 2), (10, 0), 570, ("cuda_v12",)),
        ((0, 32, 2), (10, 0), 580, ("cuda_v13", "cuda_v12")),
        # B300, Thor and GB10 have CUDA 13 only.
        (NEWEST, (10, 3), 575, ()),
        (NEWEST, (10, 3), 580, ("cuda_v13",)),
        (NEWEST, (11, 0), 580, ("cuda_v13",)),
        (NEWEST, (12, 1), 580, ("cuda_v13",)),
        # What CUDA 13 left out: Maxwell, Pascal and Volta.
        (NEWEST, (5, 2), 580, ("cuda_v12",)),
        (NEWEST, (6, 1), 580, ("cuda_v12",)),
        (NEWEST, (6, 1), 560, ()),
        (NEWEST, (7, 0), 560, ("cuda_v12",)),
        (NEWEST, (7, 0), 535, ()),
        (NEWEST, (6, 2), 580, ()),
        # The list is matched exactly: 8.7 and 7.2 would run code for 8.6 and 7.0.
        ((0, 30, 10), (8, 7), 580, ()),
        ((0, 30, 11), (8, 7), 580, ("cuda_v13",)),
        (NEWEST, (8, 7), 540, ()),
        (NEWEST, (7, 2), 580, ()),
        # Before 0.30.11 the server did not ask for driver 550.
        ((0, 30, 10), (8, 6), 535, ("cuda_v12",)),
        ((0, 30, 11), (8, 6), 535, ()),
        ((0, 30, 10), (6, 1), 560, ()),
        (NEWEST, None, None, ("cuda_v13", "cuda_v12")),
        ((0, 35, 1), (10, 0), 570, ("cuda_v12",)),
    ],
)
def test_a_release_uses_a_gpu_with_these_libraries(version, capability, driver, names):
    assert libraries.usable(version, capability, driver) == names


@pytest.mark.parametrize(
    "requested, capability, driver, names",
    [
        ("cuda_v12", (8, 6), 580, ("cuda_v12",)),
        ("cuda_v13", (8, 6), 570, ()),
        ("cuda_v13", (7, 0), 580, ()),
        ("cuda_v12", (10, 3), 580, ()),
        ("cuda_jetpack6", (8, 7), 540, ("cuda_jetpack6",)),
        ("cuda_jetpack6", (8, 6), 580, ()),
        ("cuda_jetpack5", (7, 2), None, ("cuda_jetpack5",)),
        ("cuda_v11", (8, 6), 580, ()),
    ],
)
def test_a_library_that_is_asked_for_hides_all_others(requested, capability, driver, names):
    assert libraries.usable(NEWEST, capability, driver, requested) == names


@pytest.mark.parametrize(
    "version, capability, driver, words, lasting",
    [
        ((0, 32, 1), (10, 0), "570.124.06", ["compute capability 10.0 below driver 580", "Ollama 0.32.2"], False),
        (NEWEST, (10, 3), "570.1", ["compute capability 10.3 below driver 580", "use driver 580"], False),
        (NEWEST, (8, 6), "535.1", ["below driver 550", "535.1"], False),
        (NEWEST, None, "535.1", ["an NVIDIA GPU below driver 550"], False),
        (NEWEST, (6, 1), "560.1", ["below driver 570"], False),
        (NEWEST, (3, 5), "580.1", ["Ollama needs compute capability 5.0, it has 3.5"], True),
        (NEWEST, (6, 2), "580.1", ["no CUDA library of Ollama 0.32.15", "6.2", "another GPU"], True),
        (NEWEST, (7, 2), "580.1", ["cuda_jetpack5", "jetpack5.tar.zst"], True),
        (NEWEST, (8, 7), "540.3.0", ["below driver 580", "JetPack 7", "cuda_jetpack6"], False),
        ((0, 30, 4), (8, 7), "580.1", ["compute capability 8.7", "jetpack"], True),
    ],
)
def test_a_gpu_is_refused_with_what_to_do(version, capability, driver, words, lasting):
    refused = libraries.refused_gpu(version, capability, driver)
    assert refused is not None and refused.lasting is lasting
    assert all(word in refused.reason for word in words)


def test_a_gpu_that_only_the_asked_library_leaves_out():
    refused = libraries.refused_gpu(NEWEST, (7, 0), "580.1", "cuda_v13")
    assert refused is not None and refused.lasting
    assert "OLLAMA_LLM_LIBRARY cuda_v13" in refused.reason and "give cuda_v12" in refused.reason
    assert libraries.refused_gpu(NEWEST, (7, 5), "580.1", "cuda_v13") is None


@pytest.mark.parametrize(
    "usable, taken",
    [
        ([("cuda_v13", "cuda_v12")] * 2, ["cuda_v13"] * 2),
        # V100 beside a newer card: cuda_v12 serves both.
        ([("cuda_v12",), ("cuda_v13", "cuda_v12")], ["cuda_v12"] * 2),
        # GB300 beside an RTX PRO 6000: cuda_v13 would serve both, and still the server keeps cuda_v12.
        ([("cuda_v13",), ("cuda_v13", "cuda_v12")], ["cuda_v13", "cuda_v12"]),
        ([("cuda_v13",)] * 2, ["cuda_v13"] * 2),
    ],
)
def test_the_library_that_several_gpus_get(usable, taken):
    assert libraries.taken(usable) == taken


def test_the_newest_release_comes_first_and_every_one_has_both_cuda_versions():
    versions = [row.first for row in engine_table.TABLE]
    assert versions == sorted(versions, reverse=True)
    assert all({"cuda_v12", "cuda_v13"} <= set(libraries.names(version)) for version in versions)


def test_a_gpu_that_only_a_newer_release_may_know_is_used_with_a_doubt():
    assert libraries.usable((0, 35, 1), (13, 0), 610) == ("cuda_v13",)
    assert "0.33.0 has none" in libraries.doubted_gpu((0, 35, 1), (13, 0))
    assert libraries.usable(NEWEST, (13, 0), 610) == () and libraries.doubted_gpu(NEWEST, (13, 0)) is None
    # One that is older than those of the lists will not come back.
    assert libraries.usable((0, 35, 1), (3, 7), 610) == () and libraries.doubted_gpu((0, 35, 1), (3, 7)) is None


@pytest.mark.parametrize("driver, advised", [("580.1", True), ("540.4.0", False)])
def test_a_later_release_is_advised_where_the_driver_is_good_enough_for_it(driver, advised):
    refused = libraries.refused_gpu((0, 30, 2), (8, 7), driver)
    assert ("use Ollama 0.30.11" in refused.reason) is advised and "cuda_jetpack6" in refused.reason


@pytest.mark.parametrize(
    "name, may_be",
    [
        ("cuda_v14", True),
        ("cuda_v13_2", True),
        ("cuda_jetpack7", True),
        ("cuda_sbsa13", True),
        ("cuda_v13", False),
        ("cuda_v12", False),
        ("cuda_v11", False),
        ("cuda_jetpack4", False),
        ("cuda", False),
        ("cuda_v12/", False),
        ("cuda_v", False),
        ("", False),
    ],
)
def test_a_library_that_only_a_newer_release_may_have_is_taken_with_a_doubt(name, may_be):
    assert libraries.may_be_new((0, 35, 1), name) is may_be
    doubt = libraries.doubted_library((0, 35, 1), name)
    assert (doubt is not None) is may_be
    if may_be:
        assert "Ollama 0.35.1 has the CUDA library %s" % name in doubt and "0.33.0 has cuda_jetpack5" in doubt
        assert libraries.usable((0, 35, 1), (13, 0), 610, name) == (name,)
        assert libraries.refused_gpu((0, 35, 1), (8, 6), "610.1", name) is None
    assert not libraries.may_be_new(NEWEST, name) and libraries.doubted_library(engine_table.NEWEST_READ, name) is None


@pytest.mark.parametrize("text, numbers", [("8.6", (8, 6)), ("12.0", (12, 0)), ("", None), (None, None), ("8.x", None)])
def test_a_compute_capability_as_numbers(text, numbers):
    assert libraries.compute_capability(text) == numbers
