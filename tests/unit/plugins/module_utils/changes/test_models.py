# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models of instances: what is brought, deleted, unloaded and loaded."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import models
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.wanted_models import wanted_models

from tests.unit.plugins.module_utils.changes.builders import contents, model, plan, server, serving

OPTIMIZED = "tiny:latest-optimized"


def compared(wanted, servers, applied=None, restarted=()):
    """([(kind, what, reason)], wanted states)"""
    changes, states, unused = models.compare_models(wanted, servers, applied or {}, [], set(restarted), {})
    return [(change.kind, change.what, change.reason) for change in changes], states


def test_steps_come_in_an_order_that_works():
    both = plan(model(), model("tiny", OPTIMIZED))
    both["instances"] += plan(model(), name="gpu1", port=11435)["instances"]
    states = wanted_models(both, ["/models", "/models/instances/gpu1"])
    assert [(state.instance, state.name, state.base) for state in states] == [
        ("gpu0", "llama3.1:8b", ""),
        ("gpu0", "tiny", ""),
        ("gpu0", OPTIMIZED, "tiny"),
        ("gpu0", "tiny:latest", ""),
        ("gpu1", "llama3.1:8b", ""),
    ]
    served = [name for unused, unused, name in models.served_models(both)]
    assert served == ["llama3.1:8b", OPTIMIZED, "llama3.1:8b"]
    assert "/models/instances/gpu1" in states[0].link_from and "/models/instances/gpu0" not in states[0].link_from
    assert states[0].parameters == {} and states[2].parameters == {"num_ctx": 4096}


def placed(layers, ubatch=512, name="gpu0", **more):
    one = model("tiny", OPTIMIZED, **more)
    one["predicted"] = {"ubatch": ubatch, "devices": [{"uuid": "GPU-a", "layers": layers}]}
    return plan(one, name=name)


def test_a_model_whose_layers_are_split_differently_is_moved():
    def moved(now, before):
        return [name for unused, name in sorted(models.moved_models(now, before))]

    assert moved(placed(33), placed(33, keep_alive=5)) == []
    assert moved(placed(33), {}) == [] and moved(placed(33), placed(22, name="gpu1")) == []
    assert moved(placed(22), placed(33)) == [OPTIMIZED]
    assert moved(placed(33, ubatch=1024), placed(33)) == [OPTIMIZED]
    plain = plan(model())
    other = plan(model(predicted=dict(model()["predicted"], ubatch=1)))
    assert moved(plain, other) == ["llama3.1:8b"]


def test_a_moved_model_is_unloaded_before_it_is_loaded():
    changes, states = compared(placed(22), serving(placed(22)), placed(33))
    assert [change[:2] for change in changes] == [("unload", OPTIMIZED), ("load", OPTIMIZED)]
    assert [(state.name, state.state) for state in states][-2:] == [(OPTIMIZED, "unloaded"), (OPTIMIZED, "loaded")]
    nothing_loaded = serving(placed(22))
    nothing_loaded["gpu0"]["loaded"] = []
    assert [change[0] for change in compared(placed(22), nothing_loaded, placed(33))[0]] == ["load"]


def test_a_model_that_is_missing_is_brought():
    wanted = plan(model("tiny", OPTIMIZED))
    changes = compared(wanted, {"gpu0": server("tiny:latest")})[0]
    assert changes[:2] == [
        ("create", OPTIMIZED, "gpu0 does not have it."),
        ("link", OPTIMIZED, "It is fetched before the switch."),
    ]
    changes = compared(wanted, {"gpu0": server()})[0]
    assert [change[:2] for change in changes] == [
        ("fetch", "tiny"),
        ("create", OPTIMIZED),
        ("link", "tiny"),
        ("link", OPTIMIZED),
        ("alias", "tiny:latest"),
        ("load", OPTIMIZED),
    ]


def test_a_model_that_another_instance_has_is_linked():
    wanted = plan(model("tiny"))
    wanted["instances"] += plan(model("tiny"), name="gpu1", port=11435)["instances"]
    servers = dict(serving(plan(model("tiny"))), gpu1=server())
    changes, unused, _fetched = models.compare_models(wanted, servers, {}, [], set(), {})
    assert [(change.kind, change.instance) for change in changes] == [("link", "gpu1"), ("load", "gpu1")]
    assert changes[0].details == {"from": "gpu0"}


def test_a_model_with_another_digest_than_the_pinned_one_is_fetched():
    wanted = plan(model("tiny", digest="sha256:" + "c" * 64))
    changes = compared(wanted, serving(wanted))[0]
    assert changes[0][:2] == ("fetch", "tiny") and "another digest" in changes[0][2]
    same = plan(model("tiny", digest="sha256:" + "b" * 64))
    assert compared(same, serving(same))[0] == []


def test_a_base_that_is_brought_again_carries_on_to_what_is_made_from_it():
    wanted = plan(model("tiny", OPTIMIZED, digest="sha256:" + "c" * 64))
    assert [change[:2] for change in compared(wanted, serving(wanted))[0]] == [
        ("fetch", "tiny"),
        ("create", OPTIMIZED),
        ("link", "tiny"),
        ("link", OPTIMIZED),
        ("alias", "tiny:latest"),
        ("load", OPTIMIZED),
    ]
    assert compared(wanted, serving(wanted))[0][1][2] == "Its base is brought again."
    # An instance has its own base: the other one keeps what it has.
    wanted["instances"] += plan(model("tiny", OPTIMIZED), name="gpu1", port=11435)["instances"]
    changes, unused, _fetched = models.compare_models(wanted, serving(wanted), {}, [], set(), {})
    assert {change.instance for change in changes} == {"", "gpu0"}


def test_a_model_that_was_loaded_from_an_older_digest_is_loaded_again():
    wanted = plan(model("tiny"))
    servers = serving(wanted)
    servers["gpu0"]["loaded"][0]["digest"] = "c" * 64
    ((kind, what, reason),) = compared(wanted, servers)[0]
    assert (kind, what) == ("load", "tiny:latest") and "older digest cccccccccccc" in reason


@pytest.mark.parametrize(
    "entry, word",
    [
        ({"context_length": 2048}, "with a context of 2048 tokens instead of 4096"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "for a time only"),
    ],
)
def test_a_model_that_was_loaded_otherwise_is_loaded_again(entry, word):
    wanted = plan(model("tiny", OPTIMIZED))
    servers = serving(wanted)
    servers["gpu0"]["loaded"][0].update(entry)
    ((kind, what, reason),) = compared(wanted, servers)[0]
    assert (kind, what) == ("load", OPTIMIZED) and word in reason
    assert compared(plan(model("tiny", OPTIMIZED, keep_alive="10m")), servers)[0] == (
        [] if "expires_at" in entry else [(kind, what, reason)]
    )


@pytest.mark.parametrize(
    "content, reason",
    [
        (contents({"num_ctx": 2048}), "num_ctx is 2048, not 4096."),
        (contents({"num_ctx": 4096, "top_k": 3}), "top_k is 3, not unset."),
        (contents({"num_ctx": 4096}, system="x"), "its system differs."),
        (contents({"num_ctx": 4096}, **{"from": ["sha256:" + "e" * 64]}), "its from differs."),
    ],
)
def test_an_optimized_model_that_contains_something_else_is_created_again(content, reason):
    wanted = plan(model("tiny", OPTIMIZED))
    servers = serving(wanted)
    servers["gpu0"]["contents"][OPTIMIZED] = content
    changes = compared(wanted, servers)[0]
    assert changes == [
        ("create", OPTIMIZED, reason),
        ("link", OPTIMIZED, "It is fetched before the switch."),
        ("alias", "tiny:latest", "It becomes another name of tiny:latest-optimized."),
        ("load", OPTIMIZED, "It is brought again."),
    ]


def test_a_null_of_the_plan_is_a_value():
    """As it takes away what the base has (placement/ask/inherited.py)."""
    wanted = plan(model("tiny", OPTIMIZED, parameters={"num_ctx": 4096, "main_gpu": None}))
    servers = serving(wanted)
    servers["gpu0"]["contents"][OPTIMIZED] = contents({"num_ctx": 4096, "main_gpu": None})
    assert compared(wanted, servers)[0] == []
    for values, reason in (({}, "main_gpu is unset, not null."), ({"main_gpu": 1}, "main_gpu is 1, not null.")):
        servers["gpu0"]["contents"][OPTIMIZED] = contents({"num_ctx": 4096, **values})
        assert compared(wanted, servers)[0][0] == ("create", OPTIMIZED, reason)


def test_what_a_request_does_not_name_is_taken_from_the_base_or_the_model_itself():
    wanted = plan(model("tiny", OPTIMIZED, system="s"))
    servers = serving(wanted)
    assert [change[0] for change in compared(wanted, servers)[0]] == ["create", "link", "alias", "load"]
    servers["gpu0"]["contents"]["tiny:latest"] = contents({"top_k": 3}, template="u")
    servers["gpu0"]["contents"][OPTIMIZED] = contents({"num_ctx": 4096, "top_k": 3}, template="u", system="s")
    assert compared(wanted, servers)[0] == []
    # Without the base only what is named can be compared.
    servers["gpu0"]["contents"].pop("tiny:latest")
    servers["gpu0"]["contents"][OPTIMIZED] = contents({"num_ctx": 4096, "top_k": 9}, template="v", system="s")
    assert compared(wanted, servers)[0] == []


def test_a_model_of_which_nothing_is_known_is_left_to_the_module():
    wanted = plan(model("tiny", OPTIMIZED))
    servers = serving(wanted)
    servers["gpu0"]["contents"] = {}
    assert [change[0] for change in compared(wanted, servers)[0]] == ["create", "link", "alias", "load"]


def renamed(servers, optimized="e", pulled="b"):
    """The same servers, which have tiny under both names as one model, made from what was pulled."""
    found = servers["gpu0"]
    found["models"] = [{"name": name, "digest": optimized * 64} for name in ("tiny:latest", OPTIMIZED)]
    found["loaded"] = [dict(found["loaded"][0], digest=optimized * 64)]
    found["contents"]["tiny:latest"]["pulled_digest"] = "sha256:" + pulled * 64 if pulled else None
    return servers


def test_the_plain_name_gets_the_model_that_is_served():
    wanted = plan(model("tiny", OPTIMIZED))
    servers = serving(wanted)
    servers["gpu0"]["models"][1]["digest"] = servers["gpu0"]["loaded"][0]["digest"] = "e" * 64
    ((kind, what, reason),) = compared(wanted, servers)[0]
    assert (kind, what) == ("alias", "tiny:latest")
    assert reason.startswith(
        "A request under this name is to be served by tiny:latest-optimized. With other parameters"
    )
    changes, states = compared(wanted, renamed(serving(wanted)))
    assert changes == []
    assert [(state.name, state.same_as, state.state) for state in states if state.same_as] == [
        ("tiny:latest", OPTIMIZED, "present")
    ]
    assert [state.aliases for state in states if state.state == "loaded"] == [("tiny:latest",)]


BROUGHT = ["fetch", "create", "link", "link", "alias", "load"]


def test_a_pin_is_compared_with_what_was_pulled():
    for pin, pulled, kinds in (("b", "b", []), ("c", "b", BROUGHT), ("b", None, None)):
        wanted = plan(model("tiny", OPTIMIZED, digest="sha256:" + pin * 64))
        found = [change[0] for change in compared(wanted, renamed(serving(wanted), pulled=pulled))[0]]
        assert found == (kinds if kinds is not None else BROUGHT)


def test_a_model_that_is_refreshed_is_brought_where_it_is_not_the_planned_one():
    for refresh, pin, kinds in ((True, None, BROUGHT), (False, "b", []), (True, "b", [])):
        given = dict(planned_digest="sha256:" + "c" * 64, refresh=refresh, digest=pin and "sha256:" + pin * 64)
        wanted = plan(model("tiny", OPTIMIZED, **given))
        assert [change[0] for change in compared(wanted, renamed(serving(wanted), pulled="b"))[0]] == kinds
    # Nothing is known of its digest: it is read on the host alone.
    wanted = plan(model("tiny", OPTIMIZED, planned_digest=None, refresh=True))
    assert compared(wanted, renamed(serving(wanted), pulled="b"))[0] == []


def test_a_base_that_is_not_the_planned_one_is_a_change_and_is_said():
    wanted = plan(model("tiny", OPTIMIZED, planned_digest="sha256:" + "c" * 64))
    found = compared(wanted, renamed(serving(wanted), pulled="c"))
    assert found[0] == []
    changes, states = compared(wanted, renamed(serving(wanted), pulled="b"))
    assert [change[0] for change in changes] == BROUGHT
    pulled = next(state for state in states if state.name == "tiny" and state.state == "present")
    assert pulled.digest == pulled.planned_digest
    reasons = models.compare_models(wanted, renamed(serving(wanted), pulled="b"), {}, [], set(), {})[0]
    said = next(change.reason for change in reasons if change.kind == "fetch")
    assert said == "gpu0 has it with another digest than sha256:%s. The plan was made from that one." % ("c" * 64)
    assert "Its base is brought again." in [change.reason for change in reasons]


def test_the_planned_base_is_linked_from_the_instance_that_has_it():
    one = model("tiny", OPTIMIZED, planned_digest="sha256:" + "c" * 64)
    wanted = dict(plan(one), instances=plan(one)["instances"] + plan(one, name="gpu1")["instances"])
    servers = {**renamed(serving(plan(one)), pulled="c")}
    servers["gpu1"] = renamed(serving(plan(one)), pulled="b")["gpu0"]
    changes, states, dummy = models.compare_models(wanted, servers, {}, [], {"gpu0", "gpu1"}, {})
    first = next(change for change in changes if change.what == "tiny")
    assert (first.kind, first.instance, first.details) == ("link", "gpu1", {"from": "gpu0"})
    pinned = [state.digest for state in states if state.name == "tiny" and state.instance == "gpu1"]
    assert pinned == [one["planned_digest"]]


def test_a_model_is_loaded_under_any_of_its_names():
    wanted = plan(model("tiny", OPTIMIZED))
    servers = renamed(serving(wanted))
    servers["gpu0"]["loaded"][0]["name"] = "tiny:latest"
    assert compared(wanted, servers)[0] == []
    # Under its plain name, the model of before may still be loaded.
    servers["gpu0"]["loaded"][0]["digest"] = "b" * 64
    assert [change[:2] for change in compared(wanted, servers)[0]] == [("load", OPTIMIZED)]


def aliased(digest="e", **more):
    """(a plan of tiny with the alias chat, servers that serve it)"""
    wanted = plan(model("tiny", OPTIMIZED, aliases=["chat"], **more))
    servers = renamed(serving(wanted))
    servers["gpu0"]["models"] += [{"name": "chat:latest", "digest": digest * 64}]
    return wanted, servers


def test_an_alias_is_a_further_name_of_the_model_and_is_not_removed():
    wanted, servers = aliased()
    changes, states = compared(wanted, servers)
    assert changes == []
    assert [(state.name, state.same_as) for state in states if state.same_as] == [
        ("tiny:latest", OPTIMIZED),
        ("chat:latest", OPTIMIZED),
    ]
    assert [state.aliases for state in states if state.state == "loaded"] == [("tiny:latest", "chat:latest")]


def test_an_alias_that_names_another_model_or_none_is_given_and_one_that_is_not_planned_is_removed():
    wanted, servers = aliased("c")
    assert [change[:2] for change in compared(wanted, servers)[0]] == [("alias", "chat:latest")]
    del servers["gpu0"]["models"][-1]
    assert [change[:2] for change in compared(wanted, servers)[0]] == [("alias", "chat:latest")]
    unused, servers = aliased()
    assert [change[:2] for change in compared(plan(model("tiny", OPTIMIZED)), servers)[0]] == [
        ("delete", "chat:latest")
    ]


def test_a_model_that_was_loaded_under_an_alias_stays_when_the_alias_goes_to_another_model():
    unused, servers = aliased()
    servers["gpu0"]["loaded"][0]["name"] = "chat:latest"
    assert compared(plan(model("tiny", OPTIMIZED)), servers)[0][1:] == []


def test_a_model_on_demand_is_not_loaded_and_an_old_one_is_unloaded():
    wanted = plan(model("tiny", OPTIMIZED, resident=False))
    servers = renamed(serving(wanted))
    servers["gpu0"]["loaded"] = []
    changes, states = compared(wanted, servers)
    assert changes == [] and "loaded" not in [state.state for state in states]
    servers = renamed(serving(wanted))
    servers["gpu0"]["loaded"][0]["context_length"] = 2048
    ((kind, what, reason),) = compared(wanted, servers)[0]
    assert (kind, what) == ("unload", OPTIMIZED) and "2048 tokens" in reason


DRAFT = {"name": "heads", "planned_digest": "sha256:" + "b" * 64, "headers": [{"header_bytes": 7}]}


def drafted(**more):
    """A plan with a model and a draft model that is named, and the servers that have all of it."""
    wanted = plan(model("tiny", OPTIMIZED, draft=DRAFT, **more))
    servers = renamed(serving(wanted))
    found = servers["gpu0"]
    found["models"].append({"name": "heads:latest", "digest": "e" * 64})
    found["contents"]["heads:latest"] = dict(contents(), pulled_digest="sha256:" + "b" * 64)
    found["contents"]["heads:latest"]["content"]["from"] = ["sha256:" + "f" * 64]
    found["contents"][OPTIMIZED]["content"]["draft"] = "sha256:" + "f" * 64
    return wanted, servers


def test_a_named_draft_is_brought_before_what_is_made_with_it():
    base, draft, optimized, *names = wanted_models(drafted()[0], ["/models"])
    assert (base.name, draft.name, optimized.name) == ("tiny", "heads", OPTIMIZED)
    assert (draft.planned_digest, draft.headers, draft.base) == (DRAFT["planned_digest"], DRAFT["headers"], "")
    assert draft.link_from and (optimized.draft, base.draft) == ("heads", "")
    assert [(state.name, state.same_as) for state in names] == [("tiny:latest", OPTIMIZED), ("heads:latest", OPTIMIZED)]


def test_the_draft_of_a_model_that_is_refreshed_must_be_the_planned_one():
    for refresh, pin in ((True, DRAFT["planned_digest"]), (False, "")):
        assert wanted_models(drafted(refresh=refresh)[0], [])[1].digest == pin


def test_a_draft_that_is_as_planned_changes_nothing_and_is_not_deleted():
    assert compared(*drafted())[0] == []


def test_a_draft_that_is_missing_or_another_one_makes_the_model_again():
    wanted, servers = drafted()
    servers["gpu0"]["models"].pop()
    changes = [change[:2] for change in compared(wanted, servers)[0]]
    assert changes[:2] == [("fetch", "heads"), ("create", OPTIMIZED)]
    wanted, servers = drafted()
    servers["gpu0"]["contents"][OPTIMIZED]["content"]["draft"] = ""
    ((kind, what, reason), *unused) = compared(wanted, servers)[0]
    assert (kind, what, reason) == ("create", OPTIMIZED, "its draft differs.")


def test_a_draft_that_is_no_longer_named_is_deleted():
    wanted, servers = drafted()
    wanted["instances"][0]["models"][0]["draft"] = None
    found = [change[:2] for change in compared(wanted, servers)[0]]
    assert ("create", OPTIMIZED) in found and ("delete", "heads:latest") in found


def test_a_loaded_model_whose_file_is_replaced_is_unloaded_as_long_as_its_name_has_the_file():
    given = dict(planned_digest="sha256:" + "c" * 64, refresh=True)
    wanted = plan(model("tiny", OPTIMIZED, **given))
    servers = renamed(serving(wanted), pulled="b")
    unused, states = compared(wanted, servers)
    assert [(state.name, state.state) for state in states][:2] == [(OPTIMIZED, "unloaded"), ("tiny", "present")]
    assert compared(wanted, servers, restarted=["gpu0"])[1][0].state == "present"
    servers["gpu0"]["loaded"] = []
    assert compared(wanted, servers)[1][0].state == "present"
    # Other parameters are no other file.
    wanted = plan(model("tiny", OPTIMIZED, parameters={"num_ctx": 7}))
    assert compared(wanted, renamed(serving(plan(model("tiny", OPTIMIZED)))))[1][0].state == "present"


def test_an_adapter_of_the_users_own_is_of_the_optimized_model_alone():
    told = [
        {"digest": "sha256:" + "1" * 64, "size_bytes": 5, "kind": None, "where": None},
        {"digest": "sha256:" + "2" * 64, "size_bytes": 6, "kind": "file", "where": "/lora.gguf"},
    ]
    wanted = plan(model("tiny", OPTIMIZED, adapters=told))
    pulled, created, *_further = wanted_models(wanted, [])
    assert pulled.adapters == []
    assert created.adapters == [{"kind": "file", "where": "/lora.gguf", "sha256": "2" * 64, "size_bytes": 6}]
    servers = serving(wanted)
    assert ("create", "its adapters differ.") in created_why(wanted, servers)
    servers["gpu0"]["contents"][OPTIMIZED]["content"]["adapters"] = ["sha256:" + "2" * 64]
    assert created_why(wanted, servers) == []
    # Without it, the model is made again.
    assert created_why(plan(model("tiny", OPTIMIZED)), servers) == [("create", "its adapters differ.")]


def created_why(wanted, servers):
    changes = models.compare_models(wanted, servers, {}, [], set(), {})[0]
    return [(change.kind, change.reason) for change in changes if change.kind == "create"]
