# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A device for the engine: Debian's ggml RPC backend, which comes as a library without a server program.

Runs inside the sandbox with its Python: `python3 rpc_server.py PORT`. The device is the processor; nothing is ever
computed or allocated on it, it only answers what it could hold. Listens on the loopback address alone.
"""

from __future__ import annotations

import ctypes
import sys


def serve(port):
    ggml = ctypes.CDLL("libggml.so.0", mode=ctypes.RTLD_GLOBAL)
    base = ctypes.CDLL("libggml-base.so.0", mode=ctypes.RTLD_GLOBAL)
    ggml.ggml_backend_load_all()
    for library, name in (
        (ggml, "ggml_backend_reg_by_name"),
        (base, "ggml_backend_reg_get_proc_address"),
        (ggml, "ggml_backend_dev_by_type"),
    ):
        getattr(library, name).restype = ctypes.c_void_p
    registry = ggml.ggml_backend_reg_by_name(b"RPC")
    processor = ctypes.c_void_p(ggml.ggml_backend_dev_by_type(0))
    address = base.ggml_backend_reg_get_proc_address(ctypes.c_void_p(registry), b"ggml_backend_rpc_start_server")
    start = ctypes.CFUNCTYPE(
        None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.POINTER(ctypes.c_void_p)
    )(address)
    start(b"127.0.0.1:%d" % port, None, 1, 1, ctypes.byref(processor))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
