# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the release of a plan does otherwise than that of the applied plan, with these models on these GPUs."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.written import as_written

from tests.unit.plugins.module_utils.placement.builders import TWO_A6000, make_plan, wanted


def changes(old, new, inventory=TWO_A6000, models=("llama3.1-8b",), environment=None):
    """The sentences of a plan with a release on a host where a plan with another is applied."""
    entries = [wanted(name) for name in models]
    before = dict(make_plan(inventory, entries, "0.32.15"), ollama_version=old)
    return make_plan(inventory, entries, new, applied_plan=before, environment=environment)["release_changes"]


def of_gpus(capability, driver):
    """Facts of two GPUs with this compute capability and driver."""
    inventory = copy.deepcopy(TWO_A6000)
    for gpu in inventory["gpus"]:
        gpu["compute_capability"] = capability
    return dict(inventory, driver_version=driver)


def test_the_same_release_changes_nothing():
    assert changes("0.32.15", "0.32.15") == changes("v0.32.15", "0.32.15") == []


@pytest.mark.parametrize("applied", [None, {}, {"instances": []}, "damaged"])
def test_without_an_applied_release_there_is_nothing_to_compare(applied):
    assert make_plan(TWO_A6000, [wanted("llama3.1-8b")], "0.32.15", applied_plan=applied)["release_changes"] == []


def test_a_release_that_is_no_number_is_passed_over():
    assert changes("nightly", "0.32.15") == []


def test_the_build_of_the_engine():
    assert changes("0.32.10", "0.32.14") == [
        "Ollama 0.32.14 replaces 0.32.10.",
        "Its engine is llama.cpp b10434 instead of b10380.",
    ]
    assert changes("0.32.15", "0.33.0") == ["Ollama 0.33.0 replaces 0.32.15."]


def test_a_release_that_nobody_has_read():
    assert changes("0.32.15", "0.40.0")[1] == "The build of llama.cpp in its engine is unknown."
    entries = [wanted("llama3.1-8b")]
    (warning,) = [text for text in make_plan(TWO_A6000, entries, "0.40.0")["warnings"] if "is newer" in text]
    for words in (
        "where it places models",
        "which settings it reads",
        "which architectures its engine loads",
        "CUDA libraries",
        "its archive, apart from a checksum",
        "whether holes are known in it",
    ):
        assert words in warning
    # Its archive is known, its rules are not.
    (warning,) = [text for text in make_plan(TWO_A6000, entries, "0.35.1")["warnings"] if "is newer" in text]
    assert "where it places models" in warning and "its archive" not in warning


def test_another_engine_with_other_faults_and_settings():
    found = changes("0.14.0", "0.32.15")
    assert "Its engine is llama-server instead of ollama runner." in found
    assert any("It has a known bug that the former release does not have" in one for one in found)
    assert any("It does not have this known bug of the former release" in one for one in found)
    assert any(one.startswith("It fixes vulnerabilities of the former release: CVE-") for one in found)
    assert any(one.startswith("OLLAMA_CONTEXT_LENGTH has another effect: ") and "4096 tokens" in one for one in found)
    (alone,) = [one for one in found if one.startswith("Without the settings of the plan, llama3.1-8b")]
    assert "the context length 131072 instead of 4096" in alone and "the batch 2048 instead of 512" in alone


def test_a_downgrade_is_told_in_the_same_way():
    found = changes("0.32.15", "0.31.2")
    assert found[0] == "Ollama 0.31.2 replaces 0.32.15." and not any("fixes vulnerabilities" in one for one in found)


def test_a_setting_of_the_user_that_acts_otherwise():
    found = changes("0.13.0", "0.32.15", environment={"OLLAMA_FLASH_ATTENTION": "1"})
    assert any(
        one.startswith("OLLAMA_FLASH_ATTENTION has another effect: on or off for every model; if unset")
        for one in found
    )


def test_the_library_and_the_driver_of_a_gpu():
    # CUDA 12 asks for driver 525 up to 0.30.10, and for 550 after it.
    found = changes("0.30.0", "0.32.15", of_gpus("8.6", "590.10"))
    uuid = TWO_A6000["gpus"][0]["uuid"]
    assert "On GPU %s it needs driver 550 or later instead of 525; the host has 590.10." % uuid in found
    # Orin has machine code in CUDA 13 from 0.30.11 on only.
    assert changes("0.32.14", "0.32.15", of_gpus("8.6", "590.10"))[2:] == []


def test_a_gpu_that_only_one_of_them_uses():
    inventory = of_gpus("10.0", "570.10")  # B200: CUDA 12 has it from 0.32.2 on, CUDA 13 needs driver 580
    found = changes("0.31.2", "0.32.15", inventory)
    uuid = TWO_A6000["gpus"][0]["uuid"]
    assert any(one.startswith("It uses GPU %s, which the former release did not use: " % uuid) for one in found)
    back = changes("0.32.15", "0.31.2", inventory)
    assert any(one.startswith("It does not use GPU %s any more: " % uuid) for one in back)


def test_the_plan_that_is_written_does_not_repeat_it():
    entries = [wanted("llama3.1-8b")]
    before = dict(make_plan(TWO_A6000, entries, "0.32.15"), ollama_version="0.32.10")
    plan = make_plan(TWO_A6000, entries, "0.32.15", applied_plan=before)
    assert plan["release_changes"] and as_written(plan)["release_changes"] == []
