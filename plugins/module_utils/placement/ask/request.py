# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The models that the user wants, checked and with the defaults filled in. Everything after this trusts them."""

from __future__ import annotations

from typing import Any, Optional

from ...common import names
from ...common.sizes import GIB
from ..errors import PlacementError
from ..shapes import Wanted
from . import aliases, inherited, own_adapters, own_source, speculative
from . import model_settings as settings
from .drafts import draft_name
from .model_facts import model_facts
from .parameters import check_layers, check_parameters, whole_number

# Parameters that have a field of their own in Wanted.
_OWN_FIELD = ("num_ctx", "num_batch", "num_gpu")


def wanted_models(
    models: Any, environment: Optional[dict[str, str]] = None, headroom_bytes: Any = GIB
) -> tuple[list[Wanted], list[str]]:
    """Check the list of models and fill in defaults.

    Args:
        models: list of dicts as placement_info takes them.
        environment: the user's checked service variables; they give defaults (context, slots, cache type, ...).
        headroom_bytes: bytes kept free per GPU where a model says nothing else.

    Returns:
        (the models, warnings).

    Raises:
        PlacementError: the first value that cannot be.
    """
    environment = environment or {}
    headroom_bytes = whole_number(headroom_bytes, "headroom_bytes", 0)
    if not isinstance(models, (list, tuple)) or not models:
        raise PlacementError("No model is given; list at least one, for example - name: llama4:16x17b.")
    wanted: list[Wanted] = []
    warnings: list[str] = []
    listed = set()
    for entry in models:
        one, notes = _wanted(entry, environment, headroom_bytes)
        same = names.parse(one.create_as).key()
        if same in listed:
            raise PlacementError(
                "Model %s is listed twice; give it once, with replicas for more instances, or another optimized.suffix."
                % one.name
            )
        listed.add(same)
        wanted.append(one)
        warnings.extend(notes)
    aliases.check_aliases(models)
    _check_drafts(wanted, listed)
    return wanted, warnings


def _check_drafts(wanted: list[Wanted], optimized: set[Any]) -> None:
    """Check that no draft model is brought under the name of an optimized model, which would take its place.

    Models of which one has such a name get instances of their own; a draft model is where its model is.

    Args:
        wanted: the models.
        optimized: keys (`Name.key`) of the names of the optimized models.
    """
    for one in wanted:
        if one.draft_name and names.parse(one.draft_name).key() in optimized:
            raise PlacementError(
                "speculative.draft %s of %s has the name of an optimized model that the plan creates; give another "
                "optimized.suffix to the model that it is created from." % (one.draft_name, one.name)
            )


def _wanted(entry: Any, environment: dict[str, str], headroom_bytes: int) -> tuple[Wanted, list[str]]:
    if not isinstance(entry, dict):
        raise PlacementError("Model %r is not a dictionary; give for example - name: %s." % (entry, entry))
    name = _name(entry.get("name"))
    facts = model_facts(entry.get("model"), name)
    optimized = _optimized(entry, name)
    parameters, warnings = _parameters(entry, optimized, name)
    strategy = settings.strategy(entry, name)
    allow_cpu_offload = settings.switch(entry.get("allow_cpu_offload"), "allow_cpu_offload of %s" % name) or False
    # First, because check_layers advises allow_cpu_offload, which does not go with it.
    experts = settings.cpu_experts(entry, facts, allow_cpu_offload, parameters.get("num_gpu"), name)
    check_layers(parameters.get("num_gpu"), facts, allow_cpu_offload, name)
    _check_main_gpu(parameters, name)
    parameters, own_notes = inherited.settings_of(facts.parameters, entry, parameters, name)
    drafted, parameters = speculative.tokens(entry, facts, parameters, name)
    flash = settings.flash_attention(entry, environment, name)
    replicas = settings.replicas(entry, strategy, name)
    resident = settings.resident(entry, strategy, replicas, name)
    own_headroom = settings.number(entry.get("headroom_bytes"), "headroom_bytes of %s" % name, 0)
    digest = settings.digest(entry, facts, name)
    source = own_source.planned_source(entry, facts)
    tokens, notes = settings.context_length(entry, parameters, environment, facts, name)
    wanted = Wanted(
        name=name,
        create_as=_create_as(name, optimized.get("suffix")),
        facts=facts,
        context_length=min(settings.DEFAULT_CONTEXT, facts.context_length or 0) if tokens is None else tokens,
        auto_context=tokens is None,
        parallel=settings.number(entry.get("parallel"), "parallel of %s" % name, 1)
        or int(environment.get("OLLAMA_NUM_PARALLEL") or 0)
        or 1,
        kv_cache_type=settings.cache_type(entry, environment, facts, flash, name),
        flash_attention=flash,
        ubatch=settings.ubatch(entry, parameters, name),
        strategy=strategy,
        replicas=replicas,
        allow_cpu_offload=allow_cpu_offload,
        cpu_experts=experts,
        headroom_bytes=headroom_bytes if own_headroom is None else own_headroom,
        resident=resident,
        keep_alive=settings.keep_alive(entry.get("keep_alive"), name, resident),
        insecure=settings.switch(entry.get("insecure"), "insecure of %s" % name) or False,
        digest=digest,
        parameters={key: value for key, value in parameters.items() if key not in _OWN_FIELD},
        num_gpu=parameters.get("num_gpu"),
        speculative=speculative.asked_type(entry, facts, name),
        draft_name=draft_name(entry),
        drafted=drafted,
        system=optimized.get("system"),
        template=optimized.get("template"),
        aliases=aliases.aliases_of(entry),
        # The user changes a file on purpose.
        refresh=source is not None or settings.switch(entry.get("refresh"), "refresh of %s" % name) or False,
        source=source,
        adapters=own_adapters.planned_adapters(entry, facts.adapters),
    )
    return wanted, warnings + own_notes + notes


def _name(name: Any) -> str:
    """The name of a model, as the user writes it."""
    try:
        names.parse(name)
    except names.InvalidName as error:
        raise PlacementError("The %s." % error)
    return str(name)


def _create_as(name: str, suffix: Any) -> str:
    """The name of the optimized model; a suffix that is not given is the default."""
    try:
        return names.optimized_name(name, names.DEFAULT_SUFFIX if suffix is None else suffix)
    except names.InvalidName as error:
        raise PlacementError("The %s." % error)


def _optimized(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """What the user sets for the optimized model."""
    optimized = entry.get("optimized") or {}
    if not isinstance(optimized, dict):
        raise PlacementError(
            "optimized of %s is %r, which is not a dictionary; give for example parameters: {temperature: 0.2}."
            % (name, optimized)
        )
    return optimized


def _parameters(entry: dict[str, Any], optimized: dict[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """(parameters of the Modelfile, warnings); those of the optimized model win."""
    parameters, warnings = check_parameters(entry.get("parameters"), name)
    winning, notes = check_parameters(optimized.get("parameters"), name)
    parameters.update(winning)
    return parameters, warnings + [note for note in notes if note not in warnings]


def _check_main_gpu(parameters: dict[str, Any], name: str) -> None:
    if parameters.get("main_gpu") is not None:
        raise PlacementError(
            "main_gpu %d for %s would put the whole model on one GPU whatever the strategy; leave it out and use "
            "strategy: single with the GPU selectors." % (parameters["main_gpu"], name)
        )
