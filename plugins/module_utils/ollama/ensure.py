# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bring one model of an instance into its wanted state; ensure_list.py does it with a list of them.

present.py, created.py and loading.py know how to reach a state. This file reads the options and chooses between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..common.names import InvalidName, Name, normalise_digest, parse, registry_host
from . import absent, aliased, created, header_check, loading, modelfile, parameters, present
from .client import OllamaClient, OllamaError
from .offline import OfflineClient
from .own_file import OwnFile
from .registry import RegistryError
from .store import Store, StoreError
from .target import ModelError, Outcome, Target

#: What can go wrong with a model. The text of each is one sentence for the user.
EXPECTED_ERRORS = (
    InvalidName,
    ModelError,
    OllamaError,
    RegistryError,
    StoreError,
    modelfile.ModelfileError,
    parameters.InvalidParameter,
)

#: Longest time to wait for the answer to a short request, in seconds.
_SHORT_REQUEST_SECONDS = 30

_BUILD_OPTIONS = ("parameters", "template", "system", "adapters")


@dataclass(frozen=True)
class WantedModel:
    """One model of one instance and the state that it should have.

    Attributes:
        name: The model.
        state: present, absent, loaded or unloaded.
        url: Address of the instance's API; None for a store that no server is asked about.
        timeout: Seconds without progress after which a request is given up.
        store: Models directory of the instance on this host; None where it is not known.
        request: What to build (modelfile.py); None for a model that is used as the registry has it.
        pull: How the model, or its base, gets here.
        pin: Manifest digest that the model, or its base, must have; None for any.
        headers: Those that the plan was made from; None where its files are not compared with them.
        keep_alive: How long a loaded model stays, as the API takes it.
        instance: Name of the instance for messages; "" where there is only one.
        same_as: The model that the name shall name; None for a model of its own.
        aliases: Further names of the model, under which it may be loaded.
        keep_blobs: Whether its blobs stay where it is removed.
    """

    name: Name
    state: str
    url: str | None
    timeout: int
    store: Store | None = None
    request: dict[str, Any] | None = None
    pull: present.Pull = field(default_factory=present.Pull)
    pin: str | None = None
    headers: tuple[header_check.PlannedHeader, ...] | None = None
    keep_alive: int | str = -1
    instance: str = ""
    same_as: Name | None = None
    aliases: tuple[Name, ...] = ()
    keep_blobs: bool = False

    def target(self) -> Target:
        """Return the instance that this entry is about."""
        if self.url is None:
            return Target(OfflineClient(), self.store)
        return Target(OllamaClient(self.url, min(_SHORT_REQUEST_SECONDS, self.timeout)), self.store)

    def server_key(self) -> tuple:
        """Return what identifies the instance: entries with the same key share what its server was asked."""
        return (self.url, self.store.path if self.store else None)

    def satisfied_by(self, other: WantedModel, digest: str | None) -> bool:
        """Whether the model that `other` asks for, with the manifest digest `digest`, is what this entry asks for."""
        return (
            self.name.same(other.name)
            and self.request == other.request
            and self.same_as == other.same_as
            and (self.pin is None or self.pin in (other.pin, digest))
        )


def read_wanted(options: dict[str, Any], instance: str = "", user: str | None = None) -> WantedModel:
    """Check the options of one model, before anything is done.

    Args:
        options: The options of the module `model`, each of them present; an empty value counts as not given.
        instance: Name of the instance for messages.
        user: The user that the store must belong to; None for its owner, whoever that is.

    Raises:
        InvalidName, ModelError, ModelfileError, InvalidParameter: An option is wrong.
    """
    if options["timeout"] <= 0:
        raise ModelError("timeout %d must be at least one second" % options["timeout"])
    name = parse(options["name"])
    request = _read_request(options)
    pin = normalise_digest(options["digest"]) if options["digest"] else None
    keep_alive = loading.check_keep_alive(options["keep_alive"])
    if options["link_from"] and not options["store"]:
        raise ModelError("link_from needs store, the models directory to link into")
    if options["registry"] and options["source"]:
        raise ModelError("registry and source are mutually exclusive; source names its registry itself")
    if options["registry"]:
        registry_host(options["registry"])
    if options["source"]:
        parse(options["source"])
    if options.get("same_as") and (request is not None or not options["store"] or options["state"] != "present"):
        raise ModelError("same_as goes with store and with state: present, and not with what builds a model")
    return WantedModel(
        name=name,
        state=options["state"],
        url=options["url"],
        timeout=options["timeout"],
        store=Store(options["store"], user) if options["store"] else None,
        request=request,
        pull=present.Pull(
            options["registry"],
            options["source"],
            options["insecure"],
            options["timeout"],
            [Store(path) for path in options["link_from"] or []],
            normalise_digest(options["planned_digest"]) if options.get("planned_digest") else None,
            staged=parse(options["staged_as"]) if options.get("staged_as") else None,
            own=OwnFile.of(options["file"]) if options.get("file") else None,
            login=options.get("login"),
        ),
        pin=pin,
        headers=header_check.planned_headers(options.get("headers")),
        keep_alive=keep_alive,
        instance=instance,
        same_as=parse(options["same_as"]) if options.get("same_as") else None,
        aliases=tuple(parse(alias) for alias in options.get("aliases") or ()),
        keep_blobs=bool(options.get("keep_blobs")),
    )


def _read_request(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is to be built (modelfile.py), or None where the model is used as the registry has it."""
    # By hand and not by mutually_exclusive, for which an option that a template left null counts as given.
    both = [option for option in ("from",) + _BUILD_OPTIONS if options[option]]
    if options["modelfile"] and both:
        raise ModelError("modelfile and %s are mutually exclusive; write it into the Modelfile" % both[0])
    if options["modelfile"]:
        request = modelfile.parse(options["modelfile"])
    elif options["from"]:
        request = dict(
            modelfile.empty_request(),
            parameters=parameters.check(options["parameters"]),
            template=options["template"] or None,  # Ollama inherits the text of the base where it is given an empty one
            system=options["system"] or None,
            adapters=options["adapters"] or [],
            adapter_files=[OwnFile.of(one) for one in options.get("adapter_files") or ()],
        )
        request["from"] = options["from"]
        if options.get("draft"):
            request["draft_model"] = str(parse(options["draft"]))
    else:
        alone = [option for option in _BUILD_OPTIONS if options[option]]
        if alone:
            raise ModelError("%s changes a model, so from must name the one to build on" % " and ".join(alone))
        return None
    if modelfile.is_file(request["from"]):
        raise ModelError(
            "from %s is a file, and only models can be built on; import it once with ollama create, and name that model"
            % request["from"]
        )
    parse(request["from"])
    return request


def ensure(wanted: WantedModel, target: Target, check_mode: bool = False) -> Outcome:
    """Bring one model into its wanted state.

    Raises:
        Any of EXPECTED_ERRORS, and LibraryMissing.
    """
    if wanted.state == "absent":
        return absent.ensure_absent(target, wanted.name, check_mode, wanted.keep_blobs)
    if wanted.state == "loaded":
        return loading.ensure_loaded(target, wanted.name, wanted.keep_alive, check_mode, wanted.aliases)
    if wanted.state == "unloaded":
        return loading.ensure_unloaded(target, wanted.name, check_mode, wanted.aliases)
    if wanted.same_as is not None:
        return aliased.ensure_aliased(target, wanted.name, wanted.same_as, check_mode)
    if wanted.request is not None:
        outcome = created.ensure_created(target, wanted.name, wanted.request, wanted.pull, wanted.pin, check_mode)
        outcome.warnings += [
            "the parameter %s of the Modelfile is dropped, because Ollama no longer has it" % name
            for name in wanted.request["ignored"]
        ]
        return outcome
    outcome = present.ensure_pulled(target, wanted.name, wanted.pull, wanted.pin, check_mode)
    if wanted.headers and wanted.store and not (check_mode and outcome.changed):
        outcome.header_differs = header_check.differs(wanted.store, wanted.name, wanted.headers)
    return outcome
