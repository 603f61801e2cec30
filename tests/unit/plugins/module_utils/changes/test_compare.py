# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Every kind of change with its reason, their order, and nothing on a host that is as its plan says."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import compare, order, wanted_files
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening, Place, place_data

from tests.unit.plugins.module_utils.changes.builders import (
    EXISTING,
    applied_host,
    described,
    difference,
    entry,
    host,
    model,
    plan,
    server,
    serving,
    told,
)
from tests.unit.plugins.module_utils.placement import builders as placement

OPTIMIZED = "llama3.1:8b-optimized"


@pytest.fixture(name="wanted")
def _wanted():
    """A plan of one instance with one optimized model."""
    return plan(model(create_as=OPTIMIZED))


def found(wanted, state, kind, servers=None, **settings):
    """The changes of one kind on a host that otherwise serves what the plan says."""
    changes = difference(wanted, state, serving(wanted) if servers is None else servers, **settings)
    return [change for change in changes.changes if change.kind == kind]


def test_a_host_that_is_as_its_plan_says_gets_no_change(wanted):
    changes = difference(wanted, applied_host(wanted), serving(wanted))
    assert changes.changes == () and changes.files == () and changes.obstacles == ()
    assert {state.state for state in changes.models} == {"present", "loaded"}


def test_a_second_comparison_of_what_was_applied_finds_nothing(wanted):
    """What the first comparison wants to write is what the host then has."""
    state = applied_host(wanted, files={}, made=[])
    first = difference(wanted, state, serving(wanted))
    assert first.files
    state["files"] = {file.path: described(file) for file in first.files}
    made = next(file for file in first.files if file.path == paths.MADE)
    state["made"] = json.loads(made.content)["directories"]
    assert difference(wanted, state, serving(wanted)).changes == ()


def test_an_untouched_host_gets_everything_in_order(wanted):
    changes = difference(wanted, host())
    kinds = list(dict.fromkeys((change.kind, change.object) for change in changes.changes))
    assert kinds == [
        ("fetch", "release"),
        ("create", "group"),
        ("create", "user"),
        ("write", "record"),
        ("write", "directory"),
        ("fetch", "model"),
        ("create", "model"),
        ("link", "release"),
        ("write", "file"),
        ("enable", "instance"),
        ("start", "instance"),
        ("link", "model"),
        ("alias", "model"),
        ("load", "model"),
        ("link", "command"),
        ("write", "plan"),
        ("enable", "timer"),
        ("write", "history"),
        ("prune", "store"),
    ]
    stages = [order.stage(change) for change in changes.changes]
    assert stages == sorted(stages, key=["install", "fetch", "switch", "finish", "history", "prune"].index)
    assert all(change.reason.endswith(".") for change in changes.changes)
    directories = [change.what for change in changes.of("write", "directory")]
    assert (
        directories.index("/models")
        < directories.index("/models/instances")
        < directories.index("/models/instances/gpu0")
    )


@pytest.mark.parametrize(
    "release, word",
    [
        ({"complete": {}, "leftovers": []}, "not installed"),
        ({"complete": {"0.32.15": "c" * 64}, "leftovers": []}, "another checksum"),
        ({"complete": {}, "leftovers": [paths.release("0.32.15")]}, "incomplete"),
    ],
)
def test_a_release_is_fetched(wanted, release, word):
    (change,) = found(wanted, applied_host(wanted, release=dict(release, current=None)), "fetch")
    assert (change.object, change.what) == ("release", "0.32.15") and word in change.reason


@pytest.mark.parametrize(
    "own, there, copied, reason",
    [
        (False, None, "a", "It is not there."),
        (False, "b", "a", "The controller has another copy."),
        # The module that is run then says what to install.
        (False, None, None, "It is not there."),
        (False, "a", "a", None),
        (False, "b", None, None),
        (True, None, "a", None),
    ],
)
def test_a_library_is_put_on_a_host_that_has_none_or_another(wanted, own, there, copied, reason):
    state = applied_host(wanted, libraries={"requests": {"own": own, "digest": there}})
    changes = difference(wanted, state, serving(wanted), libraries={"requests": copied})
    assert [change.reason for change in changes.changes] == ([reason] if reason else [])
    assert not reason or (changes.changes[0].kind, changes.changes[0].object) == ("write", "library")


def test_another_release_in_use_is_pruned_and_the_link_is_changed(wanted):
    state = applied_host(wanted)
    state["release"]["complete"]["0.32.14"] = "d" * 64
    state["files"][paths.CURRENT]["target"] = "releases/0.32.14"
    state["files"][paths.instance_release("gpu0")]["target"] = "../releases/0.32.14"
    assert told(difference(wanted, state, serving(wanted))) == [
        ("link", "release", paths.instance_release("gpu0")),
        ("link", "command", paths.CURRENT),
        ("prune", "release", paths.release("0.32.14")),
    ]
    assert "releases/0.32.14" in found(wanted, state, "link")[0].reason


def test_instances_that_are_not_planned_are_stopped_and_their_stores_pruned_at_the_end(wanted):
    state = applied_host(wanted)
    state["instances"].append(entry("gpu7"))
    assert told(difference(wanted, state, serving(wanted))) == [
        ("stop", "instance", "ollama@gpu7.service"),
        ("remove", "file", paths.environment_file("gpu7")),
        ("remove", "file", paths.instance_release("gpu7")),
        ("prune", "store", "/models/instances/gpu7"),
    ]


@pytest.mark.parametrize(
    "user, word",
    [
        (None, "not there"),
        ({"shell": "/bin/bash"}, "shell is /bin/bash"),
        ({"group": "users"}, "group is users"),
        ({"groups": ["video"]}, "not in the group render"),
    ],
)
def test_the_user_of_the_services_is_made_or_changed(wanted, user, word):
    state = applied_host(wanted)
    state["user"] = user and dict(state["user"], **user)
    (change,) = found(wanted, state, "change" if state["user"] else "create")
    assert (change.object, change.what) == ("user", "ollama") and word in change.reason
    assert change.details["groups"] == ["render", "video"]
    assert change.details["home"] == ("/nonexistent" if state["user"] is None else state["user"]["home"])


def test_the_home_of_a_user_is_left_as_it_is(wanted):
    """An Ollama that is given back has its models there."""
    state = applied_host(wanted)
    state["user"]["home"] = paths.UPSTREAM_HOME
    assert difference(wanted, state, serving(wanted)).changes == ()


def test_groups_that_the_host_does_not_have_are_left_out(wanted):
    state = applied_host(wanted, groups=["ollama", "video"])
    state["user"]["groups"] = ["video"]
    assert difference(wanted, state, serving(wanted)).changes == ()


def test_an_instance_that_does_not_start_at_boot_is_enabled(wanted):
    state = applied_host(wanted, instances=[entry("gpu0", enabled=False)])
    assert told(difference(wanted, state, serving(wanted))) == [("enable", "instance", "ollama@gpu0.service")]


def test_a_stopped_instance_is_started_and_its_model_loaded(wanted):
    servers = {"gpu0": server(unit={"active_state": "inactive", "needs_daemon_reload": False}, reachable=False)}
    changes = difference(wanted, applied_host(wanted), servers)
    assert [(change.kind, change.object) for change in changes.changes] == [
        ("fetch", "model"),
        ("create", "model"),
        ("start", "instance"),
        ("link", "model"),
        ("link", "model"),
        ("alias", "model"),
        ("load", "model"),
        ("prune", "store"),
    ]
    assert changes.of("start", "instance")[0].reason == "ollama@gpu0.service is inactive."


def test_what_another_server_has_at_the_address_of_an_instance_is_left_alone(wanted):
    """An Ollama that is taken over, or an instance that the plan does not have, listens where the new one will."""
    other = {"gpu0": server("llama3.1:8b", "others:latest", loaded=["llama3.1:8b"], unit=None)}
    changes = difference(wanted, host(existing=EXISTING), other, adopt=True)
    assert not changes.of("delete", "model") and [state for state in changes.models if state.state == "absent"] == []
    assert [change.what for change in changes.of("fetch", "model")] == ["llama3.1:8b"]


def test_a_restarted_instance_loads_its_model_again(wanted):
    servers = serving(wanted)
    servers["gpu0"]["environment"]["differences"] = [{"name": "OLLAMA_HOST", "difference": "missing"}]
    changes = difference(wanted, applied_host(wanted), servers)
    assert told(changes) == [("restart", "instance", "ollama@gpu0.service"), ("load", "model", OPTIMIZED)]
    assert changes.changes[0].reason == "OLLAMA_HOST is missing in the process."


def test_a_run_that_was_killed_before_it_wrote_the_plan_is_completed(wanted):
    """All is there and runs, but the plan was not written: the next run writes it and does nothing else."""
    state = applied_host(wanted, applied_plan={})
    del state["files"][paths.PLAN], state["files"][paths.FACTS]
    assert told(difference(wanted, state, serving(wanted))) == [
        ("write", "plan", paths.PLAN),
        ("write", "plan", paths.FACTS),
    ]


def test_a_run_that_was_killed_after_its_last_switch_loads_nothing_again():
    """The instances have the plan and have loaded by it, but the plan of the host is the one before."""
    one = model(create_as=OPTIMIZED)
    wanted, before = plan(one), plan(dict(one, predicted=dict(one["predicted"], ubatch=1)))
    own = json.loads(wanted_files.instance_plan_file(wanted, "gpu0").content)
    state = applied_host(wanted, applied_plan=before, instances=[entry("gpu0", plan=own)])
    assert difference(wanted, state, serving(wanted)).changes == ()
    state["instances"][0]["plan"] = {}
    assert [change.kind for change in difference(wanted, state, serving(wanted)).changes] == ["unload", "load"]


def test_a_run_that_takes_back_what_a_killed_one_began_loads_again():
    one = model(create_as=OPTIMIZED)
    wanted, begun = plan(one), plan(dict(one, predicted=dict(one["predicted"], ubatch=1)))
    own = json.loads(wanted_files.instance_plan_file(begun, "gpu0").content)
    state = applied_host(wanted, instances=[entry("gpu0", plan=own)])
    assert [change.kind for change in difference(wanted, state, serving(wanted)).changes] == ["unload", "load"]


def test_a_run_that_was_killed_between_unit_and_start_is_completed(wanted):
    state = applied_host(wanted, applied_plan={}, instances=[entry("gpu0", active=False, enabled=False)])
    servers = {"gpu0": server(reachable=False, models=[], loaded=[], unit=None)}
    kinds = [(change.kind, change.object) for change in difference(wanted, state, servers).changes]
    assert kinds == [("fetch", "model"), ("create", "model"), ("enable", "instance"), ("start", "instance")] + [
        ("link", "model"),
        ("link", "model"),
        ("alias", "model"),
        ("load", "model"),
        ("prune", "store"),
    ]


ADOPTED = dict(EXISTING, environment={"OLLAMA_ORIGINS": "x", "OLLAMA_HOST": "0.0.0.0", "PATH": "/bin"})


def test_an_ollama_from_elsewhere_is_taken_over(wanted):
    state = applied_host(wanted, existing=ADOPTED, command="foreign")
    changes = difference(wanted, state, serving(wanted), adopt=True)
    assert told(changes) == [
        ("carry_over", "environment", "ollama.service"),
        ("adopt", "service", "ollama.service"),
        ("adopt", "command", paths.COMMAND),
    ]
    assert "OLLAMA_ORIGINS" in changes.changes[0].reason and "OLLAMA_HOST" not in changes.changes[0].reason
    (note,) = changes.notes
    assert note.startswith("OLLAMA_HOST is not carried over: the plan decides it")


def test_an_adoption_that_was_killed_goes_on_where_it_stopped(wanted):
    stopped = dict(ADOPTED, active=False, enabled=False)
    state = applied_host(wanted, existing=stopped, command="foreign", adopted={"unit": "ollama.service"})
    changes = difference(wanted, state, serving(wanted), adopt=True)
    assert told(changes) == [("adopt", "service", "ollama.service"), ("adopt", "command", paths.COMMAND)]
    done = applied_host(wanted, existing=stopped, adopted={"unit": "ollama.service"})
    assert difference(wanted, done, serving(wanted), adopt=True).changes == ()


@pytest.mark.parametrize(
    "existing, command, kinds",
    [
        (dict(EXISTING, enabled=False), "ours", [("adopt", "service")]),
        (dict(EXISTING, active=False), "ours", [("adopt", "service")]),
        (dict(EXISTING, active=False, enabled=False), "ours", []),
        (None, "foreign", [("adopt", "command")]),
        (None, "ours", []),
    ],
)
def test_what_is_taken_over_is_what_runs_or_starts_or_lies_at_the_commands_place(wanted, existing, command, kinds):
    state = applied_host(wanted, existing=existing, command=command)
    changes = difference(wanted, state, serving(wanted), adopt=True)
    assert [(change.kind, change.object) for change in changes.changes] == kinds and changes.notes == ()


def test_without_being_asked_nothing_is_taken_over(wanted):
    changes = difference(wanted, applied_host(wanted, existing=ADOPTED, command="foreign"), serving(wanted))
    assert changes.changes == () and changes.notes == () and len(changes.obstacles) == 1


def test_variables_that_are_not_carried_over_are_said_once(wanted):
    state = applied_host(wanted, existing=ADOPTED, adopted={"unit": "ollama.service", "environment": {"PATH": "/bin"}})
    changes = difference(wanted, state, serving(wanted), adopt=True)
    assert changes.notes == () and changes.of("carry_over", "environment") == []


def test_models_are_taken_from_every_store_on_the_host(wanted):
    left_behind = {"path": "/o/instances", "stores": ["/o/instances/gpu0"], "size_bytes": 1, "same_file_system": True}
    state = applied_host(wanted, left_behind=left_behind, existing=EXISTING)
    state["instances"].append(entry("gpu7"))
    others = ["/models/fetch", "/old/models", "/models/instances/gpu7", "/o/instances/gpu0"]
    assert compare.link_stores(wanted, state) == others
    state["left_behind"] = dict(left_behind, same_file_system=False)
    assert "/o/instances/gpu0" in compare.link_stores(wanted, state), "copied"
    assert compare.link_stores(wanted, applied_host(wanted)) == ["/models/fetch"]


def test_what_is_left_in_another_models_directory_is_said(wanted):
    left_behind = {"path": "/o/instances", "stores": [], "size_bytes": 2 * 1024**3, "same_file_system": True}
    (note,) = difference(wanted, applied_host(wanted, left_behind=left_behind), serving(wanted)).notes
    assert note.startswith("ollama_multigpu_models_dir was /o and is /models: /o/instances keeps its 2.0 GiB of models")
    assert "linked into the new place and not deleted there" in note


def test_an_infeasible_plan_changes_nothing(wanted):
    large = {"name": "large", "fits": False, "reason": "Too large.", "remedies": ["more GPUs."]}
    small = {"name": "small", "fits": True, "reason": "It fits on one GPU.", "remedies": []}
    wanted.update(feasible=False, instances=[], models=[large])
    changes = difference(wanted, host())
    assert changes.changes == () and changes.obstacles == ("The plan is not feasible: Too large. Remedies: more GPUs.",)
    wanted["models"] = [small, dict(large, remedies=[])]
    assert difference(wanted, host()).obstacles == ("The plan is not feasible: large: Too large.",)


def test_what_a_firewall_keeps_open_is_said(wanted):
    kept = Place("ufw", opens=(), kept=(Opening("192.0.2.7", "1"),), why_kept="ufw cannot take it away")
    state = applied_host(wanted)
    state["firewall"] = dict(state["firewall"], places=[place_data(kept, ())])
    changes = difference(wanted, state, serving(wanted))
    assert changes.notes == ("ufw keeps the opening for 192.0.2.7 to port 1: ufw cannot take it away.",)
    assert changes.changes == () and changes.obstacles == ()


def test_comparing_changes_none_of_its_arguments(wanted):
    state, servers = applied_host(wanted), serving(wanted)
    before = copy.deepcopy((wanted, state, servers))
    difference(wanted, state, servers)
    assert (wanted, state, servers) == before


def test_a_plan_that_steps_down_says_so_first_and_is_written_without_it(wanted):
    """What is written is what the next run finds, whose plan does not step down any more."""
    state = applied_host(wanted)
    told = {"steps_down": ["it steps down."], "moved_addresses": ["it moves."], "moved_tags": ["its tag moved."]}
    down = dict(wanted, **told, warnings=[*(note for notes in told.values() for note in notes), *wanted["warnings"]])
    changes = difference(down, state, serving(wanted))
    assert changes.notes[:3] == ("it steps down.", "it moves.", "its tag moved.")
    (written,) = [file for file in wanted_files.wanted_files(down, state) if file.path == paths.PLAN]
    assert json.loads(written.content) == dict(wanted, steps_down=[], moved_addresses=[], moved_tags=[])


@pytest.mark.parametrize("there, reason", [(None, "not there"), ("e" * 64, "another one")])
def test_the_program_of_the_host_is_kept_current(wanted, there, reason):
    state = applied_host(wanted, program={"digest": there, "interpreter": "/usr/bin/python3"})
    (change,) = difference(wanted, state, serving(wanted), program="d" * 64).changes
    assert (change.kind, change.object, change.what) == ("write", "program", paths.PROGRAM) and reason in change.reason
    state["program"]["digest"] = "d" * 64
    assert difference(wanted, state, serving(wanted), program="d" * 64).changes == ()
    assert difference(wanted, state, serving(wanted)).changes == (), "no digest is known before the plan"


def test_a_cordon_shows_what_moves():
    """What check mode prints: the instance of the GPU that is left alone stops, and another one starts."""
    options = {"models_dir": "/models", "now": "2026-11-28T22:30:00+00:00"}
    before = placement.plan(placement.TWO_4090, placement.sized("m", 5, strategy="single"), **options)
    cordon = [{"gpu": 0, "reason": "fan"}]
    after = placement.plan(
        placement.TWO_4090, placement.sized("m", 5, strategy="single"), cordon=cordon, applied_plan=before, **options
    )
    changes = difference(after, applied_host(before), {}).changes
    assert [(change.kind, change.what) for change in changes if change.object == "instance"] == [
        ("stop", "ollama@gpu0.service"),
        ("enable", "ollama@gpu1.service"),
        ("start", "ollama@gpu1.service"),
    ]
    assert difference(before, applied_host(before), serving(before)).changes == ()


def test_a_kept_plan_insists_on_the_models_that_it_was_made_from():
    """A tag may have moved since then."""
    digest = "sha256:" + "b" * 64
    old = plan(model(planned_digest=digest))
    for is_rollback, pinned in ((True, {digest}), (False, set())):
        changes = difference(old, applied_host(old), serving(old), is_rollback=is_rollback)
        assert {state.digest for state in changes.models if state.digest} == pinned
