# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The kept plans of a made-up host: written once, read back, and nothing of them shown."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.json_text import json_text
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import history
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import Files
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError

from tests.unit.plugins.module_utils.host.builders import write

PLANS = "etc/ollama-multigpu/plans"


@pytest.fixture(name="root")
def _root(tmp_path):
    """A host with a plan in force."""
    in_force(tmp_path)
    write(tmp_path / "usr/local/lib/ollama-multigpu/releases/0.32.15/.complete", '{"checksum": "%s"}' % ("a" * 64))
    return tmp_path


def in_force(root, context=4096, token="MARK", release="0.32.15"):
    """Put a plan of one instance into force."""
    plan = {
        "ollama_version": release,
        "instances": [
            {"name": "gpu0", "environment": {"A_TOKEN": "(hidden)", "OLLAMA_DEBUG": "1"}, "context": context},
            {"name": "../../x"},
            "damaged",
        ],
    }
    write(root / "etc/ollama-multigpu/plan.json", json.dumps(plan))
    write(root / "etc/systemd/system/ollama@.service", "[Unit]\n")
    environment = write(root / "etc/ollama-multigpu/instances/gpu0.env", 'A_TOKEN="%s"\nOLLAMA_DEBUG="1"\n' % token)
    os.chmod(environment, 0o640)


def keep(root, number, **more):
    record = history.PlanRecord(number=number, order=1, time="2026-11-28T22:40:00Z", release="", **more)
    history.keep(Files(False, lambda path: path, lambda path: False), record, str(root))


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_plan_is_told_by_what_it_says(root):
    """What the role has written has the digest that an earlier version of the collection took, of the file's bytes."""
    path = root / "etc/ollama-multigpu/plan.json"

    def digest():
        return history.digest_in_force(str(root))

    keep(root, 1)
    assert digest() == history.kept_digest(1, str(root)) == history.digest_of(json.loads(path.read_text()))
    write(path, json_text(dict(json.loads(path.read_text()), note="\N{BULLET} 1e-7", number=1e-7)))
    assert history.digest_of(json.loads(path.read_text())) == digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest() != history.kept_digest(1, str(root))


def test_a_damaged_plan_is_another_one_than_none(root):
    path, found = root / "etc/ollama-multigpu/plan.json", []
    for damaged in ('{"instances": ', "[]"):
        write(path, damaged)
        found.append(history.digest_in_force(str(root)))
    path.unlink()
    assert history.digest_in_force(str(root)) is None is history.kept_digest(1, str(root))
    assert all(found) and len({*found, history.digest_of({})}) == 3


def test_the_plan_in_force_is_kept_with_all_that_it_needs(root):
    assert history.read_history(str(root)) == {"plans": [], "leftovers": []} and not history.is_kept(1, str(root))
    keep(root, 1, tokens_per_second={"gpu0": {"a": 40.5}})
    found = history.read_history(str(root))
    assert found["leftovers"] == []
    (plan,) = found["plans"]
    kept = plan.pop("files")
    assert plan == {
        "number": 1,
        "order": 1,
        "time": "2026-11-28T22:40:00Z",
        "release": "0.32.15",
        "checksum": "a" * 64,
        "verdict": "pass",
        "tokens_per_second": {"gpu0": {"a": 40.5}},
        "rolled_back_from": None,
        "load_seconds": {},
        "seconds_without_answer": {},
    }
    assert set(kept) == {paths.PLAN, paths.TEMPLATE_UNIT_FILE, paths.environment_file("gpu0")}
    assert history.is_kept(1, str(root)) and not history.is_kept(2, str(root))
    assert mode(root / PLANS) == mode(root / PLANS / "1") == mode(root / PLANS / "1/instances") == 0o700
    assert mode(root / PLANS / "1/instances/gpu0.env") == 0o640 and mode(root / PLANS / "1/about.json") == 0o600
    for name in ("plan.json", "instances/gpu0.env"):
        assert (root / PLANS / "1" / name).read_bytes() == (root / "etc/ollama-multigpu" / name).read_bytes()


def test_a_plan_is_read_back_with_its_secrets(root):
    keep(root, 1)
    in_force(root, token="MARK2")
    keep(root, 2)
    for number, value in ((1, "MARK"), (2, "MARK2")):
        plan = history.kept_plan(number, str(root))
        assert "MARK" not in json.dumps(plan)
        assert history.kept_secrets(plan, number, str(root)) == {"A_TOKEN": value}
    with pytest.raises(FilesError, match="plans/3/plan.json cannot be read"):
        history.kept_plan(3, str(root))
    (root / PLANS / "1/instances/gpu0.env").unlink()
    with pytest.raises(FilesError, match="the environment of gpu0 cannot be read"):
        history.kept_secrets(history.kept_plan(1, str(root)), 1, str(root))


def test_plans_are_in_the_order_in_which_they_came_into_force(root):
    keep(root, 1)
    in_force(root, 8192)
    keep(root, 2)
    in_force(root)
    assert not history.is_kept(1, str(root))
    keep(root, 1, rolled_back_from=2)
    plans = history.read_history(str(root))["plans"]
    assert [(plan["number"], plan["order"], plan["rolled_back_from"]) for plan in plans] == [(2, 2, None), (1, 3, 2)]
    assert history.is_kept(1, str(root))


@pytest.mark.parametrize("path", ["etc/ollama-multigpu/instances/gpu0.env", "etc/systemd/system/ollama@.service"])
def test_a_file_in_force_that_differs_is_not_the_kept_one(root, path):
    keep(root, 1)
    write(root / path, "changed")
    assert not history.is_kept(1, str(root))


@pytest.mark.parametrize(
    "record",
    [
        None,
        "",
        '{"number": 1',
        "[]",
        "{}",
        '{"number": 2, "order": 1, "time": "", "release": ""}',
        '{"number": 1, "order": "1", "time": "", "release": ""}',
        '{"number": 1, "order": true, "time": "", "release": ""}',
        '{"number": 1, "order": 1, "time": "", "release": "", "tokens_per_second": {"gpu0": 1}}',
        '{"number": 1, "order": 1, "time": "", "release": "", "tokens_per_second": {"gpu0": {"a": "x"}}}',
        '{"number": 1, "order": 1, "time": "", "release": "", "load_seconds": {"gpu0": {"a": "x"}}}',
        '{"number": 1, "order": 1, "time": "", "release": "", "seconds_without_answer": {"gpu0": "x"}}',
        '{"number": 1, "order": 1, "time": "", "release": "", "seconds_without_answer": []}',
    ],
)
def test_without_a_whole_record_it_is_no_plan(root, record):
    keep(root, 1)
    os.unlink(root / PLANS / "1/about.json")
    if record is not None:
        write(root / PLANS / "1/about.json", record)
    assert history.read_history(str(root)) == {"plans": [], "leftovers": ["/etc/ollama-multigpu/plans/1"]}


def test_what_a_later_version_records_is_passed_over(root):
    keep(root, 1)
    path = root / PLANS / "1/about.json"
    write(path, json.dumps(dict(json.loads(path.read_text()), weather="fine")))
    assert [plan["number"] for plan in history.read_history(str(root))["plans"]] == [1]


def test_names_that_are_no_numbers_are_left_over_and_drafts_are_not(root):
    keep(root, 1)
    for name in ("01", "x", ".ansible-draft"):
        shutil.copytree(root / PLANS / "1", root / PLANS / name)
    assert history.read_history(str(root))["leftovers"] == [paths.PLANS + "/01", paths.PLANS + "/x"]


def test_what_a_killed_run_left_is_replaced(root):
    write(root / PLANS / "1/instances/old.env", "X=1")
    keep(root, 1)
    assert os.listdir(root / PLANS / "1/instances") == ["gpu0.env"]


def test_a_host_without_a_plan_or_with_a_damaged_one_keeps_none(root):
    write(root / "etc/ollama-multigpu/plan.json", "{}")
    with pytest.raises(FilesError, match="has no list of instances"):
        keep(root, 1)
    os.unlink(root / "etc/ollama-multigpu/plan.json")
    with pytest.raises(FilesError, match="plan.json cannot be read"):
        keep(root, 1)
    in_force(root)
    os.unlink(root / "etc/ollama-multigpu/instances/gpu0.env")
    with pytest.raises(FilesError, match="gpu0.env cannot be kept"):
        keep(root, 1)
    assert history.read_history(str(root))["plans"] == []


def test_a_release_that_is_not_there_has_no_checksum(root):
    in_force(root, release="0.33.3")
    keep(root, 1)
    assert history.read_history(str(root))["plans"][0]["checksum"] is None


def test_a_damaged_plan_has_no_digests(root):
    keep(root, 1)
    write(root / PLANS / "1/plan.json", "{")
    assert history.read_history(str(root))["plans"][0]["files"] == {paths.PLAN: None}


def test_the_time_is_utc():
    assert len(history.now()) == 20 and history.now().endswith("Z")
