# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The options of a list of models, read and told."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import model_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.ensure_list import Progress
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Outcome


def params(*models):
    """Options as AnsibleModule hands them over."""
    suboptions = model_options.model_options()["models"]["options"]
    defaults = {name: option.get("default") for name, option in suboptions.items()}
    given = [dict(defaults, **model) for model in models]
    return {"models": given, "registry": "mirror:5000", "timeout": 7}


def test_models_are_read():
    (wanted,) = model_options.read_models(
        params({"instance": "gpu0", "name": "tiny", "store": "/s", "system": ""}), "somebody"
    )
    assert (wanted.instance, str(wanted.name), wanted.timeout) == ("gpu0", "tiny:latest", 7)
    assert (wanted.store.user, wanted.pull.registry, wanted.request) == ("somebody", "mirror:5000", None)


def test_a_wrong_entry_is_named():
    with pytest.raises(ModelError, match="x of instance gpu1: .* Nothing was changed"):
        model_options.read_models(params({"instance": "gpu1", "name": "x", "keep_alive": "0"}), None)


def test_outcomes_are_told():
    (wanted,) = model_options.read_models(params({"instance": "gpu0", "name": "tiny"}), None)
    outcome = Outcome("pull", "sha256:a", 3, {"digest": None}, {"digest": "sha256:a"}, warnings=["Oh."])
    told = model_options.result_of(wanted, outcome)
    assert (told["action"], told["changed"], told["pulled_bytes"], told["store"]) == ("pull", True, 3, None)
    done = [(wanted, outcome), (wanted, Outcome())]
    assert model_options.model_diffs(done, details=False) == [
        {
            "before": "",
            "after": "gpu0: tiny:latest: digest sha256:a\n",
            "before_header": "models",
            "after_header": "models",
        }
    ]
    outcome.header_differs = True
    warnings = model_options.warnings_of(Progress([(wanted, outcome)], held_back=[wanted]))
    assert warnings[0] == "Oh." and "tiny:latest of gpu0" in warnings[1]
