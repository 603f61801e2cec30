# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Call NVML field by field, so that a field which a GPU, driver or binding does not have costs only itself.

A field that does not exist shows in three ways: NVML's NOT_SUPPORTED (3) and FUNCTION_NOT_FOUND (13), the binding's own
NVMLLibraryMismatchError (which is no NVMLError; nvidia-ml-py 13 raises it for a driver that is too old), and
AttributeError (the binding is too old for the function).
"""

from __future__ import annotations

from typing import Any, Callable

NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
FUNCTION_NOT_FOUND = 13
ARGUMENT_VERSION_MISMATCH = 25


class Unavailable(Exception):
    """The GPU, the driver or the binding does not support the field."""


class FieldError(Exception):
    """NVML answered with an error; `code` is NVML's number, `name` its text."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__("%s (NVML error %s)" % (name, code))
        self.code = code
        self.name = name


def call(pynvml: Any, names: tuple[str, ...], *arguments: Any) -> Any:
    """Return the answer of the first NVML function that exists and works here.

    Args:
        pynvml: the binding, initialised.
        names: names of the function, the newest version first.
        arguments: of the function.

    Raises:
        Unavailable: none of the functions exists here.
        FieldError: NVML answered with another error.
    """
    for name in names:
        function = getattr(pynvml, name, None)
        if function is None:
            continue
        try:
            return function(*arguments)
        except pynvml.NVMLError as error:
            # Never compare or hash an NVMLError: its __eq__ has no __hash__ and fails against other types.
            if error.value not in (NOT_SUPPORTED, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH):
                raise FieldError(error.value, str(error))
        except getattr(pynvml, "NVMLLibraryMismatchError", AttributeError):
            pass
        except AttributeError:
            pass
    raise Unavailable(names[0])


def text(value: Any) -> Any:
    """Return a string of NVML as str (old bindings give bytes), and anything else as it is."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class Fields:
    """Reads the fields of one GPU and collects what cannot be read: `unsupported` names and `errors` {field: error}."""

    def __init__(self, pynvml: Any) -> None:
        self.pynvml = pynvml
        self.unsupported: list[str] = []
        self.errors: dict[str, dict[str, Any]] = {}

    def read(
        self, field: str, names: str | tuple[str, ...], *arguments: Any, convert: Callable[[Any], Any] = text
    ) -> Any:
        """Return the value of a field, None where it cannot be read.

        Args:
            field: its name in `unsupported` and `errors`.
            names: one or more NVML functions, the newest first.
            arguments: of the function.
            convert: applied to the answer.
        """
        try:
            value = call(self.pynvml, (names,) if isinstance(names, str) else names, *arguments)
        except Unavailable:
            self.unsupported.append(field)
            return None
        except FieldError as error:
            self.errors[field] = {"code": error.code, "name": error.name}
            return None
        return convert(value)
