# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which engines computed is kept: for the same process alone, and only where the host's program has its directory."""

from __future__ import annotations

import dataclasses
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.seen_computing import recall, remember

from tests.unit.plugins.module_utils.evidence.builders import ANSWER, NAME, A, B, observations, plan

#: As of a check without a generation.
WITHOUT = {"utilization_peak": None, "busy_processes": None, "answered": None, "tokens_per_second": None}
SMALL = {A: 330 << 20, B: 330 << 20}


@pytest.fixture(name="directory")
def _directory(tmp_path):
    return str(tmp_path / "seen")


def small_plan():
    """A model whose memory is that of the contexts, about: it alone shows nothing."""
    return plan(shares={A: 24 << 20, B: 24 << 20})


def without_generation(**changes):
    return observations(held=SMALL, **{**WITHOUT, "not_generated": "no generation was run", "log": None, **changes})


def busy(seen, uuid=A):
    wanted = small_plan()
    (instance,) = check_plan(wanted, seen).instances
    return next(check for check in instance.models[0].checks if check.name == "utilization " + uuid)


def test_the_same_process_is_still_proven(directory):
    remember(observations(held=SMALL), directory)
    seen = without_generation()
    assert busy(seen).passed is None and busy(seen).required
    recall(seen, directory)
    assert busy(seen).passed and busy(seen, B).passed and "seen computing at" in busy(seen).observed
    assert os.stat(directory + "/gpu0-1.json").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("vector, computed", [((0.6, 0.8), True), ((), None)])
def test_a_vector_is_the_answer_of_a_model_that_makes_nothing_else(directory, vector, computed):
    """Its next check without a generation passes, and the first one without a vector is not kept."""
    answer = dataclasses.replace(ANSWER, tokens=(), text="", vector=vector)
    why = '"x" does not support generate'
    remember(observations(held=SMALL, answered=None, not_generated=why, vectors_only=True, answer=answer), directory)
    seen = without_generation(answer=None, log_missing="the journal is shorter", device_uuids={})
    recall(seen, directory)
    assert busy(seen).passed is computed
    assert check_plan(small_plan(), seen).verdict == ("pass" if computed else "unproven")


@pytest.mark.parametrize("change", [{"pid": 4243}, {"started": 6}])
def test_another_process_is_not(directory, change):
    remember(observations(held=SMALL), directory)
    seen = without_generation()
    model = seen.instances["gpu0-1"].models[NAME]
    model.engine = dataclasses.replace(model.engine, **change)
    recall(seen, directory)
    assert model.utilization_peak is None


def test_a_process_that_was_idle_stays_idle(directory):
    idle = observations(held=SMALL, utilization_peak={A: 0, B: 44}, busy_processes={A: {}, B: {4242: 44}})
    remember(idle, directory)
    seen = without_generation()
    recall(seen, directory)
    assert busy(seen).passed is False


@pytest.mark.parametrize("change", [{"answered": None}, {"engine": None}, {"utilization_peak": None}])
def test_what_did_not_generate_is_not_kept(directory, change):
    remember(observations(**change), directory)
    assert not os.path.exists(directory)


def test_what_is_seen_now_counts_more(directory):
    remember(observations(held=SMALL), directory)
    seen = observations(held=SMALL, utilization_peak={A: 0, B: 0})
    recall(seen, directory)
    assert seen.instances["gpu0-1"].models[NAME].utilization_peak == {A: 0, B: 0}


def test_without_the_program_of_the_host_nothing_is_kept(tmp_path):
    remember(observations(), str(tmp_path / "none" / "seen"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"models": 1}', '{"models": {"%s": 1}}' % NAME])
def test_a_file_that_is_none_says_nothing(directory, content):
    os.makedirs(directory)
    with open(directory + "/gpu0-1.json", "w", encoding="utf-8") as stream:
        stream.write(content)
    seen = without_generation()
    recall(seen, directory)
    assert seen.instances["gpu0-1"].models[NAME].utilization_peak is None
