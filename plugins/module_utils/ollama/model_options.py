# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The options of the modules that manage a list of models, and what they return of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

from ..common.differences import differences
from .ensure import EXPECTED_ERRORS, WantedModel, read_wanted
from .ensure_list import Progress
from .login import LoginRefused, login_of
from .own_file import KINDS
from .target import ModelError, Outcome


def model_options() -> dict[str, Any]:
    """Return the options `models`, `registry` and `timeout`."""
    model = dict(
        instance=dict(type="str", required=True),
        name=dict(type="str", required=True),
        state=dict(type="str", choices=["present", "absent", "loaded", "unloaded"], default="present"),
        url=dict(type="str", default="http://127.0.0.1:11434"),
        store=dict(type="path"),
        link_from=dict(type="list", elements="path"),
        draft=dict(type="str"),
        file=dict(
            type="dict",
            options=dict(
                kind=dict(type="str", required=True, choices=list(KINDS)),
                where=dict(type="str", required=True),
                sha256=dict(type="str", required=True),
                size_bytes=dict(type="int", required=True),
                architecture=dict(type="str", required=True),
                model_type=dict(type="str"),
                file_type=dict(type="str"),
            ),
        ),
        adapters=dict(
            type="list",
            elements="dict",
            options=dict(
                kind=dict(type="str", required=True, choices=list(KINDS)),
                where=dict(type="str", required=True),
                sha256=dict(type="str", required=True),
                size_bytes=dict(type="int", required=True),
            ),
        ),
        digest=dict(type="str"),
        planned_digest=dict(type="str"),
        headers=dict(
            type="list",
            elements="dict",
            options=dict(header_bytes=dict(type="int", required=True), header_sha256=dict(type="str", required=True)),
        ),
        insecure=dict(type="bool", default=False),
        parameters=dict(type="dict"),
        system=dict(type="str"),
        template=dict(type="str"),
        same_as=dict(type="str"),
        aliases=dict(type="list", elements="str"),
        keep_blobs=dict(type="bool", default=False),
        staged_as=dict(type="str"),
        keep_alive=dict(type="str", default="-1"),
        **{"from": dict(type="str")},
    )
    return dict(
        models=dict(type="list", elements="dict", required=True, options=model),
        registry=dict(type="str"),
        timeout=dict(type="int", default=120),
    )


def read_models(params: dict[str, Any], user: Optional[str]) -> list[WantedModel]:
    """Return the wanted models of checked options.

    Args:
        params: The options of the module.
        user: The user whom the stores belong to; None for whoever owns one.

    Raises:
        ModelError: An entry is wrong. The message names it; nothing was changed.
    """
    wanted = []
    try:
        login = login_of(params)
    except LoginRefused as error:
        raise ModelError("%s Nothing was changed." % error)
    for entry in params["models"]:
        options = dict(
            entry,
            system=entry["system"] or None,  # Ollama inherits the text of the base where it is given an empty one
            template=entry["template"] or None,
            registry=params["registry"] or None,
            timeout=params["timeout"],
            source=None,
            modelfile=None,
            adapters=None,  # paths, which module model takes
            adapter_files=entry["adapters"],
            login=login,
        )
        try:
            wanted.append(read_wanted(options, entry["instance"], user))
        except EXPECTED_ERRORS as error:
            raise ModelError("%s of instance %s: %s. Nothing was changed." % (entry["name"], entry["instance"], error))
    return wanted


def result_of(wanted: WantedModel, outcome: Outcome) -> dict[str, Any]:
    """Return one entry of `models` in the result."""
    return dict(
        instance=wanted.instance,
        name=str(wanted.name),
        store=wanted.store.path if wanted.store else None,
        state=wanted.state,
        changed=outcome.changed,
        action=outcome.action,
        digest=outcome.digest,
        pulled_bytes=outcome.pulled_bytes,
        loaded=outcome.loaded,
        header_differs=outcome.header_differs,
    )


def warnings_of(progress: Progress) -> list[str]:
    """Return what the user should know: warnings of the entries, and which of them a wrong plan holds back."""
    found = [warning for wanted, outcome in progress.done for warning in outcome.warnings]
    differing = progress.differing()
    if differing:
        models = ", ".join("%s%s" % (one.name, " of " + one.instance if one.instance else "") for one in differing)
        kept = ", so nothing was deleted, unloaded or loaded" if progress.held_back else ""
        found.append(
            "The header of %s is not the one that the plan was made from%s; plan again with the model in the store."
            % (models, kept)
        )
    return found


def model_diffs(done: Iterable[tuple[WantedModel, Outcome]], details: bool) -> list[dict[str, str]]:
    """Return the differences that entries make, in Ansible's form; see common/differences.py."""
    entries = [
        ("%s: %s" % (wanted.instance, wanted.name), outcome.before, outcome.after)
        for wanted, outcome in done
        if outcome.changed
    ]
    return differences(entries, "models", details)
