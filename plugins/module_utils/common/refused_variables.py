# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Environment variables that no service may have, whatever their value: each with the reason. Pure.

Only what acts on Ollama (a Go program that is linked with the C library), on llama-server or on the libraries that they
load is here. Sources: ld.so(8); iconv of the GNU C library; ggml/src/ggml-backend-reg.cpp (GGML_BACKEND_PATH),
ggml/src/ggml-cuda/ggml-cuda.cu (getenv("GGML_CUDA_P2P") != nullptr), common/arg.cpp of llama.cpp (LLAMA_API_KEY,
LLAMA_ARG_*); Ollama's ml/backend/ggml (OLLAMA_LIBRARY_PATH); the manuals of CUPTI and NVTX (CUDA_INJECTION64_PATH,
NVTX_INJECTION64_PATH), of OpenSSL, OpenMP, NCCL and the Vulkan loader.
"""

from __future__ import annotations

import re
from typing import Optional

_LINKER = "makes the dynamic linker load other code than the release that was verified"
_OTHER_CODE = "makes the server load other code than the release that was verified"
_PROGRAMS = "makes the engine run programs that are no part of the release that was verified"

#: Pattern of whole names -> the end of a sentence. These make a server load or run other code.
_LOADERS = (
    (r"LD_.*", _LINKER),
    (r"GCONV_PATH", _OTHER_CODE),
    (r"GGML_BACKEND_PATH", _OTHER_CODE),
    (r"OLLAMA_LIBRARY_PATH", _OTHER_CODE),
    (r"(CUDA|NVTX)_INJECTION\w*", _OTHER_CODE),
    (r"NCCL_(\w*PLUGIN\w*|CONF_FILE)", _OTHER_CODE),  # the file sets variables, those of plugins among them
    (r"OMP_TOOL_LIBRARIES", _OTHER_CODE),
    (r"OPENSSL_(CONF|MODULES|ENGINES)", _OTHER_CODE),
    (r"VK_(ICD_FILENAMES|(ADD_)?DRIVER_FILES|(ADD_)?(IMPLICIT_)?LAYER_PATH)", _OTHER_CODE),
    (r"LLAMA_ARG_(AGENT|MCP_SERVERS\w*|TOOLS\w*|UI_MCP_PROXY|VIDEO_FFMPEG_DIR)", _PROGRAMS),
)
#: The same for those that break what was planned.
_BREAKERS = (
    (r"LLAMA_(ARG_)?API_KEY\w*", "makes the engine ask for a key, which Ollama does not give: it locks Ollama out"),
    (  # the names of build 11669, then those that earlier builds had
        r"LLAMA_ARG_(SPEC_DRAFT_(MODEL|HF_REPO)|(MODEL|HF_(REPO|FILE))_DRAFT|HFD_(REPO|FILE))",
        "makes the engine load a draft model that the plan does not count; speculative of a model is the option for it",
    ),
    (
        r"LLAMA_ARG_(MODEL_URL|HF_(REPO|FILE)(_V)?|DOCKER_REPO|MODELS_\w+)",
        "makes the engine fetch or load another model than the planned one",
    ),
    (r"LLAMA_ARG_(API_PREFIX|SSL_\w+)", "moves the addresses at which Ollama reaches its engine: it locks Ollama out"),
    (
        r"LLAMA_ARG_(EMBEDDINGS|RERANKING)",
        "makes the engine serve embeddings or rankings alone, so that chat and generate fail",
    ),
    (
        r"LLAMA_ARG_(STATIC_PATH|SLOT_SAVE_PATH)",
        "makes the engine serve or write files for everybody who reaches its port",
    ),
    (r"LLAMA_ARG_MMPROJ\w*", "decides on the projector, which Ollama gives to the engine and the plan counts"),
    (
        r"GGML_CUDA_P2P",
        "switches direct access between GPUs on by being there, also as 0; some boards then give wrong answers",
    ),
)


def _first(name: str, patterns: tuple[tuple[str, str], ...]) -> Optional[str]:
    return next((reason for pattern, reason in patterns if re.match(pattern + r"\Z", name)), None)


def loads_code(name: str) -> Optional[str]:
    """Return how a variable makes a server load or run other code, as the end of a sentence; None where it does not."""
    return _first(name, _LOADERS)


def breaks_plan(name: str) -> Optional[str]:
    """Return how a variable breaks what was planned, as the end of a sentence; None where it does not."""
    return _first(name, _BREAKERS)
