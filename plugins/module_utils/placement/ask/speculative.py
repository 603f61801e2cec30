# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Speculative decoding as a user asks for it, and as a model brings it along.

Ollama has one setting, draft_num_predict: the most tokens that are proposed at once. Who proposes follows from the
model: heads of its own, or the draft layer of its manifest (releases/speculation.py). /api/create makes such a layer of
any model file that the store has (`draft_files`; server/create.go `ggufLayersWithMediaType` of Ollama 0.32.15), so the
file of a model that the user names can become the draft model of the optimized model (drafts.py).
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

from ...common.names import InvalidName, parse
from ...memory import speculation as memory
from ...model.schema import ModelFacts
from ...releases import speculation
from ...releases.release import Release
from ..errors import PlacementError
from ..shapes import Wanted
from . import inherited
from .parameters import whole_number

PARAMETER = "draft_num_predict"
NONE, HEADS, DRAFT = "none", "mtp", "draft"
TYPES = (NONE, HEADS, DRAFT)
_FOR_EXAMPLE = "give for example {type: mtp, tokens: 4}"
_KEYS = ("type", "draft", "tokens")


def asked_type(entry: Mapping[str, Any], facts: ModelFacts, name: str) -> Optional[str]:
    """One of TYPES, or None where the user does not say.

    Args:
        entry: of placement_info's models.
        facts: of the model.
        name: of the model, for the messages.

    Raises:
        PlacementError: unknown, or the model has nothing that could propose in this way.
    """
    asked = check_option(entry, name).get("type")
    if asked == HEADS and not _has_heads(facts):
        raise PlacementError(
            "speculative.type mtp of %s cannot be: the model has no heads that predict further tokens "
            "(nextn_predict_layers); use a build of the model that has them, or leave speculative out." % name
        )
    if asked == DRAFT and facts.draft is None:
        raise PlacementError(
            "speculative.type draft of %s cannot be: its manifest has no draft model; name the model whose file is one "
            "as speculative.draft, or leave speculative out." % name
        )
    return asked


def tokens(
    entry: Mapping[str, Any], facts: ModelFacts, parameters: Mapping[str, Any], name: str
) -> tuple[Optional[int], dict[str, Any]]:
    """(most tokens that are proposed at once, or None = not set; the parameters with what the plan writes for that).

    Args:
        entry: of placement_info's models.
        facts: of the model.
        parameters: the user's, checked.
        name: of the model, for the messages.

    Raises:
        PlacementError: no number, or two settings that differ.
    """
    kind, given = asked_type(entry, facts, name), check_option(entry, name).get("tokens")
    if kind is None:
        own = inherited.own_options(facts.parameters).get(PARAMETER)
        return parameters.get(PARAMETER, own), dict(parameters)
    count = 0 if kind == NONE else int(speculation.DEFAULT_TOKENS if given is None else given)
    if parameters.get(PARAMETER, count) != count:
        raise PlacementError(
            "%s has speculative with %d tokens and %s %d, which are the same setting; give one of them."
            % (name, count, PARAMETER, parameters[PARAMETER])
        )
    if not count and not speculation.can_speculate(facts):
        return count, dict(parameters)  # nothing to switch off
    return count, dict(parameters, **{PARAMETER: count})


def check_release(wanted: Wanted, release: Release) -> None:
    """Refuse a type that this release cannot do.

    Raises:
        PlacementError: it has no speculative decoding, the model embeds, or the engine of the release does not start
            the draft model that is named.
    """
    asked = wanted.speculative not in (None, NONE)
    if asked and release.embeds(wanted.facts):
        raise PlacementError(
            "speculative.type %s of %s cannot be: it is an embedding model, which predicts no tokens; leave "
            "speculative out." % (wanted.speculative, wanted.name)
        )
    if asked and release.speculation(wanted.facts, wanted.drafted).kind is None:
        raise PlacementError(
            "speculative.type %s of %s cannot be: Ollama %s has no speculative decoding; use 0.30 or later, or leave "
            "speculative out." % (wanted.speculative, wanted.name, release.version)
        )
    if wanted.speculative == HEADS and speculation.never_runs_heads(wanted.facts, release.numbers):
        raise PlacementError(
            "speculative.type mtp of %s cannot be: the engine of Ollama %s runs no heads of the architecture %s, and "
            "the load ends; leave speculative out." % (wanted.name, release.version, wanted.facts.architecture)
        )
    fault = release.refused_draft(wanted.facts) if wanted.draft_name else None
    if fault:
        raise PlacementError(
            "speculative.draft %s of %s cannot be: %s; name another draft model, or leave speculative out."
            % (wanted.draft_name, wanted.name, fault)
        )


def check_option(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The `speculative` of an entry of the models, {} where it has none; what no model could have is refused.

    Args:
        entry: of placement_info's or the role's models.
        name: of the model, for the messages.

    Raises:
        PlacementError: no mapping, an unknown key or type, tokens that are no number or without a type, a draft that is
            no model's name or goes with another type.
    """
    option = entry.get("speculative")
    if option is None:
        return {}
    if not isinstance(option, dict):
        raise PlacementError("speculative of %s is %r, which is not a dictionary; %s." % (name, option, _FOR_EXAMPLE))
    wrong = sorted(str(key) for key in set(option) - set(_KEYS))
    if wrong:
        raise PlacementError("speculative of %s has the unknown key '%s'; %s." % (name, wrong[0], _FOR_EXAMPLE))
    asked, given = option.get("type"), option.get("tokens")
    if asked is None and given is not None:
        raise PlacementError("speculative of %s has tokens and no type; %s." % (name, _FOR_EXAMPLE))
    if asked is not None and asked not in TYPES:
        raise PlacementError("speculative.type '%s' of %s is unknown; use one of %s." % (asked, name, ", ".join(TYPES)))
    if given is not None and whole_number(given, "speculative.tokens of " + name, 0 if asked == NONE else 1):
        if asked == NONE:
            raise PlacementError(
                "speculative of %s has type none and tokens %s; leave one of them out." % (name, given)
            )
    _check_draft(option, name)
    return option


def _check_draft(option: Mapping[str, Any], name: str) -> None:
    """Check that the draft of an option, if it has one, is the name of another model and goes with the type."""
    draft = option.get("draft")
    if draft in (None, ""):
        return
    if option.get("type") != DRAFT:
        raise PlacementError(
            "speculative of %s has draft %s, which goes with type draft and not with %s; give {type: draft, draft: %s}."
            % (name, draft, option.get("type") or "none", draft)
        )
    if not isinstance(draft, str):
        raise PlacementError(
            "speculative.draft of %s is %r, which is no text; give the name of its draft model." % (name, draft)
        )
    try:
        same = parse(draft).same(parse(name))
    except InvalidName as error:
        raise PlacementError("speculative.draft of %s: the %s." % (name, error))
    if same:
        raise PlacementError(
            "speculative.draft of %s is the model itself; name its draft model, or give {type: mtp} if the model has "
            "heads of its own." % name
        )


def _has_heads(facts: ModelFacts) -> bool:
    """Whether heads propose for a model: those of its draft where it has one, else its own."""
    if facts.draft is not None:
        return memory.has_heads(facts.draft)
    return memory.has_heads(facts) or speculation.has_renamed_heads(facts)
