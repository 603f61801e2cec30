# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The shapes of GPUs that a plan does not use, and of faults that allow no plan."""

from __future__ import annotations

import dataclasses
from typing import Optional

from .shapes import Gpu


@dataclasses.dataclass(frozen=True)
class LeftAlone:
    """Why the user leaves a GPU alone: the option (cordon or exclude), the selector there, words, the end if any."""

    option: str
    selector: str
    words: str
    until: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class LeftOutGpu:
    """A GPU that is on the host and that the plan does not use.

    Attributes:
        uuid: or where it is, where it has no UUID.
        fault: why it cannot be used, or None where only the user leaves it out; `advice`: what to do on the host.
        selected: whether the user leaves it to the plan.
        gpu: the GPU as it would be used, or None where that is not known.
        lasting: whether nothing on the host changes that, such as a GPU that this release of Ollama does not support.
        alone: that the user leaves it alone by name, or None.
    """

    uuid: str
    fault: Optional[str]
    selected: bool = True
    gpu: Optional[Gpu] = None
    lasting: bool = False
    advice: str = ""
    alone: Optional[LeftAlone] = None

    @property
    def cause(self) -> str:
        """What leaves it out: an option of the user, or "fault"."""
        return self.alone.option if self.alone else "fault" if self.selected else "selectors"

    @property
    def reason(self) -> str:
        """Why the plan does not use it."""
        return self.alone.words if self.alone else self.fault or "it is not selected"


@dataclasses.dataclass(frozen=True)
class GpuFault:
    """Why no plan may be made until the GPUs of the host are mended, in sentences, and what would help."""

    reason: str
    remedies: tuple[str, ...]
