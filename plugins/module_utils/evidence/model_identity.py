# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Check that the model that a server has loaded has the file that the plan names, and stays loaded. Pure.

All memory may be right while another file is loaded.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

from ..common.names import InvalidName, full_name, normalise_digest, served_name
from ..ollama.staleness import expires
from . import programs
from .diagnosis import Diagnosis
from .shapes import Check, EngineProcess, ObservedModel


class ModelIdentity:
    """A loaded model beside what the server's store has under its name and under that of the planned base.

    Args:
        model: of the plan.
        observed: of the model.
    """

    def __init__(self, model: Mapping[str, Any], observed: ObservedModel) -> None:
        self.name = served_name(model)
        self.base: str = model.get("from") or model["name"]
        self.observed = observed
        self._model = model

    def engine_file(self) -> Optional[str]:
        """Return the file that the engine has loaded; None where it is not known."""
        engine: Optional[EngineProcess] = self.observed.engine
        return (engine.model_file or None) if engine else None

    def other_files(self) -> list[str]:
        """Return the models that the engine has mapped and that are not, or no longer, the files of its arguments."""
        return programs.other_models(self.observed.engine) if self.observed.engine else []

    def has_file(self) -> Optional[bool]:
        """Return whether engine, served model and planned base have one file; None where one is not known."""
        files = [self.engine_file(), self.observed.served_file, self.observed.base_file]
        if len({file for file in files if file}) > 1 or self.other_files():
            return False
        mapped = self.observed.engine.mapped if self.observed.engine else None
        return None if None in files or mapped is None else True

    def is_current(self) -> Optional[bool]:
        """Return whether what is loaded is what the store has under the name now; None where it is not known."""
        return _same_digest((self.observed.ps or {}).get("digest"), self.observed.stored_digest)

    def stays(self) -> Optional[bool]:
        """Return whether the server keeps it loaded for ever; None where it does not say."""
        entry = self.observed.ps or {}
        return not expires(self.keep_alive, entry) if entry.get("expires_at") else None

    @property
    def aliases(self) -> list[str]:
        """Its aliases by the plan."""
        return [full_name(alias) for alias in self._model.get("aliases") or ()]

    def other_aliases(self) -> Optional[list[str]]:
        """Return the aliases that name another model in the store, or none; None where one is not known."""
        found = [alias for alias in self.aliases if self._names_it(alias) is False]
        return found or (None if any(self._names_it(alias) is None for alias in self.aliases) else [])

    def _names_it(self, alias: str) -> Optional[bool]:
        names = self.observed.alias_digests
        if names is None or alias not in names:
            return None
        return names[alias] is not None and _same_digest(names[alias], self.observed.stored_digest)

    @property
    def keep_alive(self) -> Any:
        """How long the plan keeps it loaded."""
        return self._model.get("keep_alive", -1)


def check_model(identity: ModelIdentity) -> list[Check]:
    """Return the checks of which model is loaded, and for how long."""
    file, mapped = identity.observed.base_file or "the file of %s" % identity.base, identity.other_files()
    checks = [
        Check("model_file", identity.has_file(), file, ", ".join(mapped) or identity.engine_file() or "unknown"),
        Check(
            "model_digest",
            identity.is_current(),
            identity.observed.stored_digest or "that of the store",
            (identity.observed.ps or {}).get("digest") or "unknown",
        ),
    ]
    if identity.aliases:
        others, names = identity.other_aliases(), ", ".join(identity.aliases)
        seen = "unknown" if others is None else "%s: not %s" % (", ".join(others), identity.name) if others else names
        checks.append(Check("aliases", None if others is None else not others, names, seen))
    if str(identity.keep_alive).startswith("-"):
        until = (identity.observed.ps or {}).get("expires_at") or "unknown"
        checks.append(Check("stays_loaded", identity.stays(), "for ever", until))
    return checks


def explain_model(identity: ModelIdentity) -> Optional[Diagnosis]:
    """Return the finding on a loaded model that is not the planned one, None if it is."""
    if identity.other_files():
        return Diagnosis(
            "unplanned_model",
            "the engine of %s works with %s, which is not, or no longer, the file that it was started with (%s)"
            % (identity.name, ", ".join(identity.other_files()), identity.engine_file() or "unknown"),
            "Unload it (gpufleet.ollama.model, state unloaded) and load it again. If the file in the store was "
            "changed, delete the model and run the role.",
        )
    if identity.has_file() is False:
        return Diagnosis(
            "unplanned_model",
            "the engine of %s has loaded %s, the server has %s under that name and %s under %s, which the plan "
            "makes it from"
            % (
                identity.name,
                identity.engine_file(),
                identity.observed.served_file or "nothing known",
                identity.observed.base_file or "nothing known",
                identity.base,
            ),
            "Run the role: it makes %s from %s again and loads it." % (identity.name, identity.base),
        )
    if identity.is_current() is False:
        return Diagnosis(
            "unplanned_model",
            "%s was made or pulled again after it was loaded" % identity.name,
            "Load it again (gpufleet.ollama.model with state loaded), or run the role.",
        )
    others = identity.other_aliases()
    if others:
        return Diagnosis(
            "unplanned_model",
            "the alias %s does not name %s in the store of the server" % (" and ".join(others), identity.name),
            "Run the role: it lets the alias name %s again." % identity.name,
        )
    return None


def explain_expiry(identity: ModelIdentity) -> Optional[Diagnosis]:
    """Return the finding on a model that will be unloaded although the plan keeps it, None if it stays."""
    if not str(identity.keep_alive).startswith("-") or identity.stays() is not False:
        return None
    return Diagnosis(
        "not_loaded",
        "%s is loaded until %s, and the plan keeps it loaded"
        % (identity.name, (identity.observed.ps or {})["expires_at"]),
        "Load it with keep_alive -1 (gpufleet.ollama.model, state loaded). If it expires again, a client sends a "
        "keep_alive of its own.",
    )


def _same_digest(one: Any, other: Any) -> Optional[bool]:
    try:
        return normalise_digest(one) == normalise_digest(other)
    except InvalidName:
        return None
