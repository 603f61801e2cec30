/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SPDX-FileCopyrightText: The gpufleet.ollama contributors */
/* Preloaded into a device of the oracle: the memory that it reports is what DEVICE_MIB says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

long sysconf(int name)
{
    static long (*real)(int);
    const char *mib = getenv("DEVICE_MIB");

    if (!real)
        real = (long (*)(int)) dlsym(RTLD_NEXT, "sysconf");
    if (name == _SC_PHYS_PAGES && mib)
        return atol(mib) * 1048576L / real(_SC_PAGESIZE);
    return real(name);
}
