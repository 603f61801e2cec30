/* SPDX-License-Identifier: GPL-3.0-or-later
 * SPDX-FileCopyrightText: The gpufleet.ollama contributors
 *
 * A libnvidia-ml.so.1 that reads its GPUs from the rig's state file at every call (format: README.md beside this file).
 * Written from the public function list and the structure layouts of pynvml's ctypes classes; contains nothing of NVIDIA's.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, VERSION_MISMATCH = 25, MEMORY = 20 };
enum { HANDLE_BASE = 0x10000, MIG_STEP = 0x100, NO_INSTANCE = -1 };

typedef void *handle; /* HANDLE_BASE + index, plus MIG_STEP * (slot + 1) for a MIG device */
typedef struct { int gpu, mig; } target;

static int initialised; /* a count, as NVML keeps one */

/* --- the state file ------------------------------------------------------------------------- */

static __thread char *text; /* the file, lines ended by NUL */
static __thread size_t length;

static int load_state(void) {
    const char *path = getenv("GPU_RIG_STATE");
    FILE *stream = fopen(path && *path ? path : "/dev/gpu-rig/state", "r");
    size_t room = 0, got;
    length = 0;
    if (!stream) return DRIVER_NOT_LOADED;
    do {
        char *larger = realloc(text, room += 65536);
        if (!larger) { fclose(stream); return MEMORY; }
        text = larger;
        got = fread(text + length, 1, room - length - 1, stream);
        length += got;
    } while (got > 0);
    fclose(stream);
    text[length] = '\0';
    for (size_t i = 0; i < length; i++) if (text[i] == '\n') text[i] = '\0';
    return OK;
}

static const char *value_in(const char *line, const char *key, size_t size) {
    return !strncmp(line, key, size) && line[size] == ' ' ? line + size + 1 : NULL;
}

/* The last value of a key; NULL where it is absent or "-". */
static const char *find(const char *format, ...) {
    char key[160];
    const char *found = NULL, *value;
    va_list list;
    va_start(list, format);
    vsnprintf(key, sizeof key, format, list);
    va_end(list);
    size_t size = strlen(key);
    for (const char *line = text; line < text + length; line += strlen(line) + 1)
        if ((value = value_in(line, key, size))) found = value;
    return found && strcmp(found, "-") ? found : NULL;
}

static const char *of(target t, const char *name) {
    return t.mig < 0 ? find("gpu%d.%s", t.gpu, name) : find("gpu%d.mig.%d.%s", t.gpu, t.mig, name);
}

static unsigned long long number(const char *value, unsigned long long missing) { return value ? strtoull(value, NULL, 0) : missing; }

static int next_mig(target *t) { /* goes on to the next MIG device, from the GPU itself to the first one */
    int slots = number(find("gpu%d.mig", t->gpu), 0) ? (int)number(find("gpu%d.mig.max", t->gpu), 0) : 0;
    do t->mig++; while (t->mig < slots && !of(*t, "uuid"));
    return t->mig < slots;
}

/* --- entering a call: log, delay, fault, handle ---------------------------------------------- */

static void base_name(const char *function, char *base, size_t size) {
    snprintf(base, size, "%s", function);
    char *version = strrchr(base, '_');
    if (version && version[1] == 'v' && strspn(version + 2, "0123456789") == strlen(version + 2)) *version = '\0';
    if (!strcmp(base, "nvmlInitWithFlags")) strcpy(base, "nvmlInit");
}

static int fault_or_delay(const char *prefix, const char *function) {
    char base[96];
    const char *value;
    base_name(function, base, sizeof base);
    if ((value = find("%sdelay.%s", prefix, function)) || (value = find("%sdelay.%s", prefix, base))) usleep(1000 * (useconds_t)number(value, 0));
    if ((value = find("%sfault.%s", prefix, function)) || (value = find("%sfault.%s", prefix, base))) return (int)number(value, 0);
    return OK;
}

static int enter(const char *function) {
    const char *path = getenv("GPU_RIG_LOG");
    FILE *stream = path && *path ? fopen(path, "a") : NULL;
    if (stream) { fprintf(stream, "%s\n", function); fclose(stream); }
    if (!initialised && strncmp(function, "nvmlInit", 8)) return UNINITIALIZED;
    int code = load_state();
    return code ? code : fault_or_delay("", function);
}

static int gpu_count(void) { return (int)number(find("gpus"), 0); }

static int locate(handle h, const char *function, target *t) {
    char prefix[32];
    long place = (long)(intptr_t)h - HANDLE_BASE;
    t->gpu = (int)(place % MIG_STEP);
    t->mig = (int)(place / MIG_STEP) - 1;
    if (place < 0 || t->gpu >= gpu_count() || (t->mig >= 0 && !of(*t, "uuid"))) return INVALID_ARGUMENT;
    snprintf(prefix, sizeof prefix, "gpu%d.", t->gpu);
    const char *lost = find("%sfault", prefix);
    int code = lost ? (int)number(lost, 0) : fault_or_delay(prefix, function);
    snprintf(prefix, sizeof prefix, "gpu%d.own.", t->gpu); /* not of its MIG devices */
    return code || t->mig >= 0 ? code : fault_or_delay(prefix, function);
}

static int resolve(handle h, const char *function, target *t) {
    int code = enter(function);
    return code ? code : locate(h, function, t);
}

#define BEGIN(name) target t; int code = resolve(h, name, &t); if (code) return code

static int put(const char *value, char *out, unsigned size) {
    if (!value) return NOT_SUPPORTED;
    if (strlen(value) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return OK;
}

static int put_number(const char *value, unsigned *out) {
    if (!value) return NOT_SUPPORTED;
    *out = (unsigned)strtol(value, NULL, 0);
    return OK;
}

#define TEXT(function, key) API int function(handle h, char *out, unsigned size) { BEGIN(#function); return put(of(t, key), out, size); }
#define NUMBER(function, key) API int function(handle h, unsigned *out) { BEGIN(#function); return put_number(of(t, key), out); }

/* --- library and system ---------------------------------------------------------------------- */

static int start(const char *function) { int code = enter(function); if (!code) __sync_add_and_fetch(&initialised, 1); return code; }
API int nvmlInit(void) { return start("nvmlInit"); }
API int nvmlInit_v2(void) { return start("nvmlInit_v2"); }
API int nvmlInitWithFlags(unsigned flags) { (void)flags; return start("nvmlInitWithFlags"); }
API int nvmlShutdown(void) { if (!initialised) return UNINITIALIZED; __sync_sub_and_fetch(&initialised, 1); return OK; }

API const char *nvmlErrorString(int code) {
    static const char *const words[] = { "Success", "Uninitialized", "Invalid Argument", "Not Supported", "Insufficient Permissions", "Already Initialized", "Not Found",
        "Insufficient Size", "Insufficient External Power", "Driver Not Loaded", "Timeout", "Interrupt Request Issue", "NVML Shared Library Not Found",
        "Function Not Found", "Corrupted infoROM", "GPU is lost", "GPU requires restart", "The operating system has blocked the request.",
        "RM has detected an NVML/RM version mismatch.", "In use", "Insufficient Memory" };
    return code >= 0 && code < (int)(sizeof words / sizeof *words) ? words[code] : "Unknown Error";
}

API int nvmlSystemGetDriverVersion(char *out, unsigned size) { int code = enter("nvmlSystemGetDriverVersion"); return code ? code : put(find("driver.version"), out, size); }
API int nvmlSystemGetNVMLVersion(char *out, unsigned size) { int code = enter("nvmlSystemGetNVMLVersion"); return code ? code : put(find("driver.nvml"), out, size); }
static int cuda_version(const char *function, int *out) { int code = enter(function); return code ? code : put_number(find("driver.cuda"), (unsigned *)out); }
API int nvmlSystemGetCudaDriverVersion(int *out) { return cuda_version("nvmlSystemGetCudaDriverVersion", out); }
API int nvmlSystemGetCudaDriverVersion_v2(int *out) { return cuda_version("nvmlSystemGetCudaDriverVersion_v2", out); }
API int nvmlGetExcludedDeviceCount(unsigned *out) { int code = enter("nvmlGetExcludedDeviceCount"); *out = 0; return code; }

API int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
    char path[64], name[1024];
    const char *value;
    int code = enter("nvmlSystemGetProcessName");
    if (code) return code;
    snprintf(path, sizeof path, "process.%u", pid);
    for (target t = { 0, -1 }; t.gpu < gpu_count(); t = (target){ t.gpu + 1, -1 })
        do if ((value = of(t, path)) && (value = strchr(value, ' ')) && (value = strchr(value + 1, ' '))) return put(value + 1, out, size);
        while (next_mig(&t));
    snprintf(path, sizeof path, "/proc/%u/exe", pid);
    ssize_t got = readlink(path, name, sizeof name - 1);
    if (got < 0) return NOT_FOUND;
    name[got] = '\0';
    return put(name, out, size);
}

/* --- handles --------------------------------------------------------------------------------- */

static int count(const char *function, unsigned *out) { int code = enter(function); if (!code) *out = (unsigned)gpu_count(); return code; }
API int nvmlDeviceGetCount(unsigned *out) { return count("nvmlDeviceGetCount", out); }
API int nvmlDeviceGetCount_v2(unsigned *out) { return count("nvmlDeviceGetCount_v2", out); }

static int hand_out(int gpu, const char *function, handle *out) {
    target t;
    *out = (handle)(intptr_t)(HANDLE_BASE + gpu);
    return locate(*out, function, &t);
}

static int by_index(const char *function, unsigned index, handle *out) {
    int code = enter(function);
    if (code) return code;
    return (int)index < gpu_count() ? hand_out((int)index, function, out) : INVALID_ARGUMENT;
}
API int nvmlDeviceGetHandleByIndex(unsigned index, handle *out) { return by_index("nvmlDeviceGetHandleByIndex", index, out); }
API int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *out) { return by_index("nvmlDeviceGetHandleByIndex_v2", index, out); }

API int nvmlDeviceGetHandleByUUID(const char *uuid, handle *out) {
    int code = enter("nvmlDeviceGetHandleByUUID");
    const char *value;
    for (int gpu = 0; !code && gpu < gpu_count(); gpu++) {
        if ((value = find("gpu%d.uuid", gpu)) && !strcmp(value, uuid)) return hand_out(gpu, "nvmlDeviceGetHandleByUUID", out);
        for (int slot = 0; slot < (int)number(find("gpu%d.mig.max", gpu), 0); slot++)
            if ((value = find("gpu%d.mig.%d.uuid", gpu, slot)) && !strcmp(value, uuid)) {
                *out = (handle)(intptr_t)(HANDLE_BASE + gpu + MIG_STEP * (slot + 1));
                return OK;
            }
    }
    return code ? code : NOT_FOUND;
}

static int parse_pci(const char *value, unsigned part[4]) { return value && sscanf(value, "%x:%x:%x.%x", part, part + 1, part + 2, part + 3) == 4; }

API int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, handle *out) {
    int code = enter("nvmlDeviceGetHandleByPciBusId_v2");
    unsigned wanted[4], mine[4];
    if (!code && !parse_pci(bus, wanted)) return INVALID_ARGUMENT;
    for (int gpu = 0; !code && gpu < gpu_count(); gpu++)
        if (parse_pci(find("gpu%d.pci", gpu), mine) && !memcmp(wanted, mine, sizeof mine)) return hand_out(gpu, "nvmlDeviceGetHandleByPciBusId_v2", out);
    return code ? code : NOT_FOUND;
}
API int nvmlDeviceGetHandleByPciBusId(const char *bus, handle *out) { return nvmlDeviceGetHandleByPciBusId_v2(bus, out); }

/* --- identity -------------------------------------------------------------------------------- */

TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
TEXT(nvmlDeviceGetBoardPartNumber, "part_number")
NUMBER(nvmlDeviceGetMinorNumber, "minor")
NUMBER(nvmlDeviceGetBrand, "brand")
NUMBER(nvmlDeviceGetArchitecture, "architecture")
NUMBER(nvmlDeviceGetNumGpuCores, "cores")
API int nvmlDeviceGetIndex(handle h, unsigned *out) { BEGIN("nvmlDeviceGetIndex"); *out = (unsigned)(t.mig < 0 ? t.gpu : t.mig); return OK; }

API int nvmlDeviceGetCudaComputeCapability(handle h, int *major, int *minor) {
    BEGIN("nvmlDeviceGetCudaComputeCapability");
    const char *value = find("gpu%d.compute_capability", t.gpu);
    return value && sscanf(value, "%d.%d", major, minor) == 2 ? OK : NOT_SUPPORTED;
}

typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_info;

static int fill_pci(const char *value, const char *id, pci_info *out) {
    unsigned part[4];
    if (!parse_pci(value, part)) return NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    snprintf(out->legacy, sizeof out->legacy, "%04X:%02X:%02X.%X", part[0] & 0xffff, part[1] & 0xff, part[2] & 0xff, part[3] & 0xf);
    snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.%X", part[0], part[1], part[2], part[3]);
    out->domain = part[0]; out->bus = part[1]; out->device = part[2];
    out->id = out->subsystem = (unsigned)number(id, 0x10de);
    return OK;
}
static int pci(handle h, const char *function, pci_info *out) { BEGIN(function); return fill_pci(find("gpu%d.pci", t.gpu), find("gpu%d.pci_id", t.gpu), out); }
API int nvmlDeviceGetPciInfo(handle h, pci_info *out) { return pci(h, "nvmlDeviceGetPciInfo", out); }
API int nvmlDeviceGetPciInfo_v2(handle h, pci_info *out) { return pci(h, "nvmlDeviceGetPciInfo_v2", out); }
API int nvmlDeviceGetPciInfo_v3(handle h, pci_info *out) { return pci(h, "nvmlDeviceGetPciInfo_v3", out); }

/* --- memory and processes -------------------------------------------------------------------- */

static int is_alive(unsigned pid) { /* a zombie holds nothing */
    char path[48], line[512], *end;
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    FILE *stream = fopen(path, "r");
    if (!stream) return 0;
    size_t got = fread(line, 1, sizeof line - 1, stream);
    fclose(stream);
    line[got] = '\0';
    end = strrchr(line, ')');
    return end && end[1] == ' ' && end[2] != 'Z';
}

/* Next line "gpuN.KIND.PID value" ("gpuN.mig.M.KIND.PID value") of a running process that is that key's last line; NULL at the end. */
static const char *next_pid_line(target t, const char *kind, const char *line, unsigned *pid, const char **value) {
    char prefix[64], *end;
    size_t size = (size_t)(t.mig < 0 ? snprintf(prefix, sizeof prefix, "gpu%d.%s.", t.gpu, kind)
                                     : snprintf(prefix, sizeof prefix, "gpu%d.mig.%d.%s.", t.gpu, t.mig, kind));
    for (line = line ? line + strlen(line) + 1 : text; line < text + length; line += strlen(line) + 1) {
        if (strncmp(line, prefix, size)) continue;
        *pid = (unsigned)strtoul(line + size, &end, 10);
        *value = end + 1;
        if (*end == ' ' && find("%s%u", prefix, *pid) == *value && is_alive(*pid)) return line;
    }
    return NULL;
}

static unsigned long long used_memory(target t) { /* of a divided GPU: what all its MIG devices use */
    unsigned long long used = number(of(t, "memory.base"), 0);
    unsigned pid;
    const char *value, *line = NULL;
    while ((line = next_pid_line(t, "process", line, &pid, &value))) used += number(value, 0);
    for (target mig = t; t.mig < 0 && next_mig(&mig);) used += used_memory(mig);
    return used;
}

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;

static int memory(target t, memory_v2 *out) {
    const char *total = of(t, "memory.total");
    if (!total) return NOT_SUPPORTED;
    out->total = number(total, 0);
    out->reserved = number(of(t, "memory.reserved"), 0);
    out->used = used_memory(t);
    if (out->used > out->total - out->reserved) out->used = out->total - out->reserved;
    out->free = out->total - out->reserved - out->used;
    return OK;
}

API int nvmlDeviceGetMemoryInfo(handle h, memory_v1 *out) {
    memory_v2 m;
    BEGIN("nvmlDeviceGetMemoryInfo");
    if ((code = memory(t, &m))) return code;
    out->total = m.total; out->free = m.free; out->used = m.used + m.reserved;
    return OK;
}
API int nvmlDeviceGetMemoryInfo_v2(handle h, memory_v2 *out) {
    BEGIN("nvmlDeviceGetMemoryInfo_v2");
    return out->version == (sizeof *out | 2u << 24) ? memory(t, out) : VERSION_MISMATCH;
}
API int nvmlDeviceGetBAR1MemoryInfo(handle h, memory_v1 *out) {
    BEGIN("nvmlDeviceGetBAR1MemoryInfo");
    const char *total = find("gpu%d.bar1.total", t.gpu);
    if (!total) return NOT_SUPPORTED;
    out->total = number(total, 0);
    out->used = number(find("gpu%d.bar1.used", t.gpu), 0);
    out->free = out->total - out->used;
    return OK;
}
NUMBER(nvmlDeviceGetMemoryBusWidth, "bus_width")

typedef struct { unsigned pid; unsigned long long used; } process_v1;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process_v2;
/* Writes the processes of one GPU or MIG device after the `found` ones, as far as `room` lets it; returns their number. */
static unsigned list_processes(target t, char type, int version, void *out, unsigned found, unsigned room) {
    unsigned pid, instances[2] = { (unsigned)NO_INSTANCE, (unsigned)NO_INSTANCE };
    const char *value, *line = NULL, *kind;
    if (t.mig >= 0) { instances[0] = (unsigned)number(of(t, "gi"), 0); instances[1] = (unsigned)number(of(t, "ci"), 0); }
    while ((line = next_pid_line(t, "process", line, &pid, &value))) {
        if (((kind = strchr(value, ' ')) ? kind[1] : 'C') != type) continue;
        if (out && found < room) {
            unsigned long long used = find("processes.bytes") || *value == '-' ? UINT64_MAX : number(value, 0);
            if (version == 1) ((process_v1 *)out)[found] = (process_v1){ pid, used };
            else ((process_v2 *)out)[found] = (process_v2){ pid, used, instances[0], instances[1] };
        }
        found++;
    }
    return found;
}

/* A container without the host's PID namespace sees no process of the host. What is in a MIG device is listed there, on the GPU for root only. */
static int processes(handle h, const char *function, char type, int version, unsigned *number_of, void *out) {
    unsigned found = 0, room = out ? *number_of : 0;
    BEGIN(function);
    int shown = !find("processes.hidden"), all = shown && t.mig < 0 && !geteuid();
    if (shown) found = list_processes(t, type, version, out, found, room);
    for (target mig = t; all && next_mig(&mig);) found = list_processes(mig, type, version, out, found, room);
    code = found > room ? INSUFFICIENT_SIZE : OK;
    *number_of = found;
    return code;
}
#define PROCESSES(function, type) \
    API int function(handle h, unsigned *n, void *out) { return processes(h, #function, type, 1, n, out); } \
    API int function##_v2(handle h, unsigned *n, void *out) { return processes(h, #function "_v2", type, 2, n, out); } \
    API int function##_v3(handle h, unsigned *n, void *out) { return processes(h, #function "_v3", type, 2, n, out); }
PROCESSES(nvmlDeviceGetComputeRunningProcesses, 'C')
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses, 'G')
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses, 'M')

typedef struct { unsigned pid; unsigned long long at; unsigned sm, memory, encoder, decoder; } process_sample;

API int nvmlDeviceGetProcessUtilization(handle h, process_sample *out, unsigned *number_of, unsigned long long since) {
    unsigned pid, busy, found = 0;
    const char *value, *line = NULL;
    BEGIN("nvmlDeviceGetProcessUtilization");
    if (t.mig >= 0 || !of(t, "utilization") || find("processes.bytes")) return NOT_SUPPORTED;
    if (find("processes.hidden")) return NOT_FOUND;
    while ((line = next_pid_line(t, "busy", line, &pid, &value))) {
        if (!(busy = (unsigned)number(value, 0))) continue;
        if (out && found < *number_of) out[found] = (process_sample){ pid, since + 1, busy, 0, 0, 0 };
        found++;
    }
    code = !found ? NOT_FOUND : found > (out ? *number_of : 0) ? INSUFFICIENT_SIZE : OK;
    *number_of = found;
    return code;
}

static unsigned utilization(target t) {
    unsigned pid, most = (unsigned)number(of(t, "utilization"), 0);
    const char *value, *line = NULL;
    while ((line = next_pid_line(t, "busy", line, &pid, &value)))
        if (number(value, 0) > most) most = (unsigned)number(value, 0);
    return most;
}

API int nvmlDeviceGetUtilizationRates(handle h, unsigned out[2]) {
    BEGIN("nvmlDeviceGetUtilizationRates");
    if (!of(t, "utilization")) return NOT_SUPPORTED;
    out[0] = utilization(t);
    out[1] = (unsigned)number(of(t, "utilization.memory"), 0);
    return OK;
}

/* --- modes, health, clocks ------------------------------------------------------------------- */

NUMBER(nvmlDeviceGetComputeMode, "compute_mode")
NUMBER(nvmlDeviceGetPersistenceMode, "persistence")
NUMBER(nvmlDeviceGetVirtualizationMode, "virtualization")
NUMBER(nvmlDeviceGetDisplayActive, "display")
NUMBER(nvmlDeviceGetDisplayMode, "display")
NUMBER(nvmlDeviceGetPerformanceState, "pstate")
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, "retired_pending")
NUMBER(nvmlDeviceGetPowerUsage, "power")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, "power.limit")
NUMBER(nvmlDeviceGetPowerManagementLimit, "power.limit")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, "power.default")
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, "pcie.width")
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, "pcie.max_gen")
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, "pcie.max_width")

/* An idle link is slow, to save power; it is trained up while the GPU computes. */
API int nvmlDeviceGetCurrPcieLinkGeneration(handle h, unsigned *out) {
    BEGIN("nvmlDeviceGetCurrPcieLinkGeneration");
    const char *busy = of(t, "pcie.gen.busy") ? "pcie.gen.busy" : "pcie.max_gen";
    return put_number(of(t, utilization(t) ? busy : "pcie.gen"), out);
}

static int pair(target t, const char *first, const char *second, unsigned *a, unsigned *b) {
    int code = put_number(of(t, first), a);
    return code ? code : of(t, second) ? put_number(of(t, second), b) : put_number(of(t, first), b);
}
API int nvmlDeviceGetEccMode(handle h, unsigned *now, unsigned *pending) { BEGIN("nvmlDeviceGetEccMode"); return pair(t, "ecc", "ecc.pending", now, pending); }

API int nvmlDeviceGetTotalEccErrors(handle h, unsigned error, unsigned counter, unsigned long long *out) {
    BEGIN("nvmlDeviceGetTotalEccErrors");
    const char *value = of(t, error == 0 ? "ecc.corrected" : counter == 0 ? "ecc.volatile" : "ecc.aggregate");
    *out = number(value, 0);
    return value ? OK : NOT_SUPPORTED;
}
API int nvmlDeviceGetRemappedRows(handle h, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    BEGIN("nvmlDeviceGetRemappedRows");
    const char *value = of(t, "remapped");
    return value && sscanf(value, "%u %u %u %u", corrected, uncorrected, pending, failed) == 4 ? OK : NOT_SUPPORTED;
}

static int throttle(handle h, const char *function, unsigned long long *out) {
    BEGIN(function);
    *out = number(of(t, "throttle"), 0);
    return of(t, "throttle") ? OK : NOT_SUPPORTED;
}
API int nvmlDeviceGetCurrentClocksEventReasons(handle h, unsigned long long *out) { return throttle(h, "nvmlDeviceGetCurrentClocksEventReasons", out); }
API int nvmlDeviceGetCurrentClocksThrottleReasons(handle h, unsigned long long *out) { return throttle(h, "nvmlDeviceGetCurrentClocksThrottleReasons", out); }

API int nvmlDeviceGetTemperature(handle h, unsigned sensor, unsigned *out) { BEGIN("nvmlDeviceGetTemperature"); return sensor ? INVALID_ARGUMENT : put_number(of(t, "temperature"), out); }
API int nvmlDeviceGetTemperatureV(handle h, unsigned out[3]) { BEGIN("nvmlDeviceGetTemperatureV"); return put_number(of(t, "temperature"), out + 2); }
API int nvmlDeviceGetTemperatureThreshold(handle h, unsigned which, unsigned *out) {
    BEGIN("nvmlDeviceGetTemperatureThreshold");
    return which > 1 ? NOT_SUPPORTED : put_number(of(t, which ? "temperature.slowdown" : "temperature.shutdown"), out);
}

static int clock_of(handle h, const char *function, const char *prefix, unsigned type, unsigned *out) {
    static const char *const names[] = { "graphics", "sm", "memory" };
    char key[64];
    BEGIN(function);
    if (type > 2) return NOT_SUPPORTED;
    snprintf(key, sizeof key, "%s%s", prefix, names[type]);
    return put_number(of(t, key), out);
}
API int nvmlDeviceGetClockInfo(handle h, unsigned type, unsigned *out) { return clock_of(h, "nvmlDeviceGetClockInfo", "clock.", type, out); }
API int nvmlDeviceGetMaxClockInfo(handle h, unsigned type, unsigned *out) { return clock_of(h, "nvmlDeviceGetMaxClockInfo", "clock.max.", type, out); }

API int nvmlDeviceGetAddressingMode(handle h, unsigned out[2]) { BEGIN("nvmlDeviceGetAddressingMode"); return put_number(of(t, "addressing"), out + 1); }
API int nvmlDeviceGetNumaNodeId(handle h, unsigned *out) {
    BEGIN("nvmlDeviceGetNumaNodeId");
    return of(t, "numa") && *of(t, "numa") != '-' ? put_number(of(t, "numa"), out) : NOT_SUPPORTED; /* "-1": no node */
}
API int nvmlDeviceGetCpuAffinity(handle h, unsigned words, unsigned long *out) {
    BEGIN("nvmlDeviceGetCpuAffinity");
    const char *value = of(t, "cpu_affinity");
    if (!value || !words) return value ? INSUFFICIENT_SIZE : NOT_SUPPORTED;
    memset(out, 0, words * sizeof *out);
    out[0] = strtoul(value, NULL, 16);
    return OK;
}

typedef struct { unsigned field, scope; long long timestamp, latency; unsigned type, result; unsigned long long value; } field_value;

API int nvmlDeviceGetFieldValues(handle h, int n, field_value *fields) {
    BEGIN("nvmlDeviceGetFieldValues");
    for (int i = 0; i < n; i++) {
        const char *key = fields[i].field == 90 ? "nvlink.speed" : fields[i].field == 91 ? "nvlink.links" : fields[i].field == 230 ? "recovery_action" : NULL;
        const char *value = key ? of(t, key) : NULL;
        fields[i].type = 1; /* unsigned int */
        fields[i].result = value ? OK : NOT_SUPPORTED;
        fields[i].value = number(value, 0);
    }
    return OK;
}

/* --- MIG ------------------------------------------------------------------------------------- */

API int nvmlDeviceGetMigMode(handle h, unsigned *now, unsigned *pending) { BEGIN("nvmlDeviceGetMigMode"); return pair(t, "mig", "mig.pending", now, pending); }
API int nvmlDeviceGetMaxMigDeviceCount(handle h, unsigned *out) {
    BEGIN("nvmlDeviceGetMaxMigDeviceCount");
    *out = (unsigned)number(of(t, "mig.max"), 0);
    return of(t, "mig") ? OK : NOT_SUPPORTED;
}
API int nvmlDeviceGetMigDeviceHandleByIndex(handle h, unsigned slot, handle *out) {
    BEGIN("nvmlDeviceGetMigDeviceHandleByIndex");
    if (!find("gpu%d.mig.%u.uuid", t.gpu, slot)) return NOT_FOUND;
    *out = (handle)(intptr_t)(HANDLE_BASE + t.gpu + MIG_STEP * ((int)slot + 1));
    return OK;
}
API int nvmlDeviceIsMigDeviceHandle(handle h, unsigned *out) { BEGIN("nvmlDeviceIsMigDeviceHandle"); *out = t.mig >= 0; return OK; }
API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle h, handle *out) {
    BEGIN("nvmlDeviceGetDeviceHandleFromMigDeviceHandle");
    *out = (handle)(intptr_t)(HANDLE_BASE + t.gpu);
    return t.mig < 0 ? INVALID_ARGUMENT : OK;
}
API int nvmlDeviceGetGpuInstanceId(handle h, unsigned *out) { BEGIN("nvmlDeviceGetGpuInstanceId"); return t.mig < 0 ? NOT_SUPPORTED : put_number(of(t, "gi"), out); }
API int nvmlDeviceGetComputeInstanceId(handle h, unsigned *out) { BEGIN("nvmlDeviceGetComputeInstanceId"); return t.mig < 0 ? NOT_SUPPORTED : put_number(of(t, "ci"), out); }

typedef struct { unsigned processors, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices; unsigned long long memory_mib; } attributes;
API int nvmlDeviceGetAttributes_v2(handle h, attributes *out) {
    BEGIN("nvmlDeviceGetAttributes_v2");
    if (t.mig < 0) return NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    out->processors = (unsigned)number(of(t, "sm"), 0);
    out->gpu_slices = out->compute_slices = (unsigned)number(of(t, "slices"), 0);
    out->memory_mib = number(of(t, "memory.total"), 0) >> 20;
    return OK;
}

/* --- connections ----------------------------------------------------------------------------- */

static int between(const char *function, const char *kind, handle h, handle other, unsigned *out) {
    int b = (int)(((long)(intptr_t)other - HANDLE_BASE) % MIG_STEP);
    BEGIN(function);
    if (b < 0 || b >= gpu_count()) return INVALID_ARGUMENT;
    return put_number(find("%s.%d.%d", kind, t.gpu < b ? t.gpu : b, t.gpu < b ? b : t.gpu), out);
}
API int nvmlDeviceGetTopologyCommonAncestor(handle a, handle b, unsigned *out) { return between("nvmlDeviceGetTopologyCommonAncestor", "topology", a, b, out); }
API int nvmlDeviceGetP2PStatus(handle a, handle b, unsigned which, unsigned *out) { (void)which; return between("nvmlDeviceGetP2PStatus", "p2p", a, b, out); }

API int nvmlDeviceGetNvLinkState(handle h, unsigned link, unsigned *out) {
    BEGIN("nvmlDeviceGetNvLinkState");
    const char *links = of(t, "nvlink.links");
    if (!links) return NOT_SUPPORTED;
    *out = (unsigned)number(find("gpu%d.nvlink.%u.state", t.gpu, link), 1);
    return link < number(links, 0) ? OK : INVALID_ARGUMENT;
}
API int nvmlDeviceGetNvLinkRemotePciInfo_v2(handle h, unsigned link, pci_info *out) {
    BEGIN("nvmlDeviceGetNvLinkRemotePciInfo_v2");
    return fill_pci(find("gpu%d.nvlink.%u.remote", t.gpu, link), NULL, out);
}
