# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Call NVML field by field: one that a GPU, driver or binding does not have never costs the others.

Three different things mean "not there": NVML's NOT_SUPPORTED (3) and FUNCTION_NOT_FOUND (13), the binding's own
NVMLLibraryMismatchError (no NVMLError; nvidia-ml-py 13 raises it for a driver that is too old), and AttributeError
(a binding that is too old for the function).
"""

from __future__ import annotations

NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
FUNCTION_NOT_FOUND = 13
ARGUMENT_VERSION_MISMATCH = 25


class Unavailable(Exception):
    """The field does not exist here: not supported by the GPU, the driver or the binding."""


class FieldError(Exception):
    """NVML answered with an error; `code` is NVML's number, `name` its text."""

    def __init__(self, code, name):
        super().__init__("%s (NVML error %s)" % (name, code))
        self.code = code
        self.name = name


def call(pynvml, names, *arguments):
    """Return the answer of the first function of `names` that exists and works here (newest first).

    Raises Unavailable when none does, FieldError for any other answer of NVML.
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


def text(value):
    """Return a string of NVML as str; old bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class Fields:
    """The fields of one GPU: `unsupported` (names) and `errors` {name: {code, name}} collect what could not be read."""

    def __init__(self, pynvml):
        self.pynvml = pynvml
        self.unsupported = []
        self.errors = {}

    def read(self, field, names, *arguments, **options):
        """Return the value of `field` from the first of the functions `names` (a str or tuple), None where there is none.

        `convert` (function): applied to the answer.
        """
        try:
            value = call(self.pynvml, (names,) if isinstance(names, str) else names, *arguments)
        except Unavailable:
            self.unsupported.append(field)
            return None
        except FieldError as error:
            self.errors[field] = {"code": error.code, "name": error.name}
            return None
        convert = options.get("convert")
        return convert(value) if convert else text(value)
