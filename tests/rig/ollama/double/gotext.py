# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Text formats of Go: log lines, JSON, sizes, numbers, durations, and the errors of its JSON decoder."""

from __future__ import annotations

import json
import re
import sys
import threading
import time

_LOCK = threading.Lock()
_PLAIN = re.compile(r"^[^\s\"=\x00-\x1f\x7f]+$")


def quoted(text):
    """`text` as log/slog writes a value: without quotes if that is unambiguous, else as a Go string."""
    return text if _PLAIN.match(text) else json.dumps(text, ensure_ascii=False)


def write(line):
    """Write one line to the journal. The lines of the engine are written here too, so that lines are never mixed."""
    with _LOCK:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def log(level, source, message, **fields):
    """Write one slog line: time, level, source, msg and the fields in the given order."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".%03dZ" % int(now % 1 * 1000)
    # Ollama's sizes and texts with a space are quoted; an empty value is "".
    rest = "".join(
        " %s=%s"
        % (key, quoted(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else value)
        for key, value in fields.items()
    )
    write("time=%s level=%s source=%s msg=%s%s" % (stamp, level, source, quoted(message), rest))


def timestamp(seconds, nanoseconds=None):
    """RFC 3339 in UTC with nanoseconds, as encoding/json writes a time."""
    whole = int(seconds)
    nanos = int((seconds - whole) * 1e9) if nanoseconds is None else nanoseconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + (".%09d" % nanos).rstrip("0").rstrip(".") + "Z"


def dumps(value):
    """JSON as encoding/json writes it: compact, `<`, `>` and `&` escaped. Keys keep their order: sort maps before."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def sharp(value):
    """`%#v` of a value decoded from JSON (numbers are float64 there: 1048576 becomes 1.048576e+06)."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else plain(value)


def plain(value):
    """`%v` of a value decoded from JSON."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (int, float)):
        return str(value)
    digits, exponent = ("%.17e" % value).split("e")
    for precision in range(17):  # the shortest digits that read back as the same number
        digits, exponent = ("%.*e" % (precision, value)).split("e")
        if float(digits + "e" + exponent) == float(value):
            break
    if int(exponent) < -4 or int(exponent) >= 6:
        return "%se%+03d" % (digits, int(exponent))
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def human_bytes(count):
    """Decimal sizes as format.HumanBytes writes them ("674 KB", "1.5 GB")."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            value = count / size
            return "%d %s" % (value, unit) if value >= 10 or value == int(value) else "%.1f %s" % (value, unit)
    return "%d B" % count


def human_bytes2(count):
    """Binary sizes as format.HumanBytes2 writes them ("23.5 GiB", "0 B")."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return "%.1f %s" % (count / size, unit)
    return "%d B" % count


def human_number(count):
    """Numbers of parameters as format.HumanNumber writes them ("330K", "8.0B")."""
    if count >= 10**12:
        return _three_digits(count / 10**12) + "T"
    if count >= 10**9:
        return _three_digits(count / 10**9) + "B"
    if count >= 10**6:
        value = count / 10**6
        return ("%.0fM" if value == int(value) else "%.2fM") % value
    return "%.0fK" % (count / 1000) if count >= 1000 else "%d" % count


def _three_digits(value):
    return "%.0f" % value if value >= 100 else "%.1f" % value


_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text):
    """Seconds of a Go duration ("5m", "1h30m", "-1s"); ValueError for another text."""
    match = re.fullmatch(r"([-+]?)((?:\d+\.?\d*(?:ns|us|\u00b5s|ms|s|m|h))+)|([-+]?)0", text)
    if not match:
        raise ValueError(text)
    parts = re.findall(r"(\d+\.?\d*)(ns|us|\u00b5s|ms|s|m|h)", match.group(2) or "")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if match.group(1) == "-" else seconds


def duration_text(seconds):
    """A duration as Go prints it ("5m0s", "1h0m0s", "-1ns")."""
    if seconds == 0:
        return "0s"
    if abs(seconds) < 1e-3:
        return "%dns" % round(seconds * 1e9)
    if abs(seconds) < 1:
        return "%gms" % (seconds * 1e3)
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    return sign + ("%dh" % hours if hours else "") + ("%dm" % minutes if hours or minutes else "") + "%gs" % rest


def json_error(text, error):
    """The error text of encoding/json for a `text` that the decoder of Python refused."""
    if error.pos >= len(text.rstrip()):
        return "unexpected EOF" if text.strip() else "EOF"
    where = "looking for beginning of value"
    if "property name" in error.msg:
        where = "looking for beginning of object key string"
    elif "delimiter" in error.msg:
        where = "after object key" if "':'" in error.msg else "after object key:value pair"
    elif "Extra data" in error.msg:
        where = "after top-level value"
    return "invalid character '%s' %s" % (text[error.pos], where)
