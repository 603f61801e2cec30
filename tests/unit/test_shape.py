# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The shape of the code: lengths, which room may import which, and a test file for each file with logic."""

from __future__ import annotations

import ast
import collections
import functools
import pathlib
import re
import subprocess

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = CHECKOUT / "plugins"
ROOMS = PLUGINS / "module_utils"
UNIT_TESTS = CHECKOUT / "tests" / "unit" / "plugins" / "module_utils"

LONGEST_FUNCTION = 60
MOST_PARAMETERS = 7
LONGEST_FILE = 360
LONGEST_LINE = 120
#: Folders whose .py, .yml and .j2 files have short lines; recordings are left as they are.
SHORT_LINES = ("plugins", "roles", "playbooks", "tests", "extensions", "meta")
#: Blocks of a plugin that are documentation and not code.
DOCUMENTATION = ("DOCUMENTATION", "EXAMPLES", "RETURN")

#: Which room of module_utils may import which. A room imports only rooms above it in this table.
ARROWS = {
    "common": set(),
    "host": {"common"},
    "gpu": {"common", "host"},
    "ollama": {"common", "host"},
    "model": {"common", "ollama"},
    "memory": {"common", "model"},
    "releases": {"common", "model", "memory"},
    "placement": {"common", "ollama", "model", "memory", "releases"},
    "measure": {"common", "host", "gpu", "ollama", "releases", "placement"},
    "changes": {"common", "releases", "placement", "ollama"},
    "evidence": {"common", "host", "gpu", "ollama", "measure", "changes"},
    "diagnose": {"common", "host", "gpu", "ollama", "releases", "evidence"},
    "program": {"common", "host", "gpu", "ollama", "evidence", "diagnose"},
    "apply": {"common", "host", "ollama", "changes", "evidence"},
    "benchmark": {"common", "host", "ollama", "evidence", "apply"},
}
#: Rooms whose files neither read nor write anything outside their arguments, and neither does what they import. In the
#: other rooms it is so for each file that says "Pure." at its beginning.
PURE_ROOMS = ("memory", "releases", "placement", "changes")
INPUT_OUTPUT = {
    "ctypes",
    "fcntl",
    "glob",
    "http",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "platform",
    "pynvml",
    "random",
    "requests",
    "select",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
}

#: Files that are tested in a file of another name: test file -> (why, folder, files).
TESTED_ELSEWHERE = {
    "gpu/test_nvml.py": ("what NVML says of a device is read through the rig's library", "gpu/", "device schema"),
    "placement/test_host_memory.py": (
        "the host's memory is planned by all rooms of the planner together",
        "placement/",
        "search/host_room tell/host_memory tell/host_remedies",
    ),
    "placement/tell/test_remedies.py": ("a case is solved where remedies are tried", "placement/tell/", "case"),
    "evidence/test_findings.py": (
        "a comparison is what findings and checks are made of",
        "evidence/",
        "comparison diagnosis memory_findings",
    ),
    "evidence/test_collect.py": ("an instance is observed with all others of its plan", "evidence/", "observer"),
    "evidence/test_gpu_memory.py": (
        "whose memory it is, seen through the verdict",
        "evidence/",
        "model_memory host_view",
    ),
    "ollama/test_client.py": ("requests are those of the client's methods", "ollama/", "transport"),
    "ollama/test_store_own.py": ("a file that becomes a blob", "ollama/", "own_blob"),
    "ollama/test_present.py": ("present and absent are asked for together", "ollama/", "absent other_stores"),
    "ollama/test_replaced.py": ("manifests that were replaced", "ollama/", "store_named store_replaced"),
    "diagnose/test_diagnosis.py": ("what a host shows is what findings are made of", "diagnose/", "shapes"),
    "program/test_main.py": ("exit codes are what a command ends with", "program/", "shapes"),
    "evidence/test_checks.py": ("the verdict of checks", "evidence/", "shapes"),
}


def _relative(path):
    return path.relative_to(CHECKOUT).as_posix()


def _list(problems):
    return "\n" + "\n".join(problems)


@functools.lru_cache(maxsize=None)
def _tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def _python(folder):
    return sorted(folder.rglob("*.py"))


def _functions(path):
    return [node for node in ast.walk(_tree(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


# --- lengths ---------------------------------------------------------------------------------------


def test_functions_are_short():
    long = []
    for path in _python(PLUGINS):
        for function in _functions(path):
            lines = function.end_lineno - function.lineno + 1
            if lines > LONGEST_FUNCTION:
                long.append("%s: %s has %d lines" % (_relative(path), function.name, lines))
    assert not long, _list(long)


def test_functions_have_few_parameters():
    many = []
    for path in _python(PLUGINS):
        for function in _functions(path):
            given = function.args
            names = [argument.arg for argument in given.posonlyargs + given.args + given.kwonlyargs]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > MOST_PARAMETERS:
                many.append("%s: %s has %d parameters" % (_relative(path), function.name, count))
    assert not many, _list(many)


def test_files_are_short():
    long = []
    for path in _python(PLUGINS):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        for node in _tree(path).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in DOCUMENTATION:
                lines -= node.end_lineno - node.lineno + 1
        if lines > LONGEST_FILE:
            long.append("%s has %d lines" % (_relative(path), lines))
    assert not long, _list(long)


def test_lines_are_short():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SHORT_LINES],
        cwd=str(CHECKOUT),
        stdout=subprocess.PIPE,
        check=True,
    )
    long = []
    for name in sorted(listed.stdout.decode("utf-8").split("\0")):
        path = CHECKOUT / name
        if path.suffix not in (".py", ".yml", ".j2") or "fixtures" in path.parts or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > LONGEST_LINE:
                long.append("%s:%d: %d columns" % (name, number, len(line)))
    assert not long, _list(long)


# --- docstrings ------------------------------------------------------------------------------------


def _public(path):
    """(class or None, definition) of the public functions, methods and classes of a file, nested ones left out."""
    for node in _tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield None, node
            members = node.body if isinstance(node, ast.ClassDef) else []
            yield from (
                (node, one) for one in members if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")
            )


def test_what_is_public_in_the_rooms_has_a_docstring():
    """A method that overrides another one is documented there."""
    methods = collections.defaultdict(set)
    for path in _python(ROOMS):
        for of_class, node in _public(path):
            if of_class is not None and ast.get_docstring(node):
                methods[of_class.name].add(node.name)
    missing = []
    for path in _python(ROOMS):
        for of_class, node in _public(path):
            bases = [ast.unparse(base).rsplit(".", maxsplit=1)[-1] for base in of_class.bases] if of_class else []
            if not ast.get_docstring(node) and not any(node.name in methods[base] for base in bases):
                missing.append("%s:%d: %s" % (_relative(path), node.lineno, node.name))
    assert not missing, _list(missing)


def test_docstrings_name_no_parameter_that_is_gone():
    gone = []
    for path in _python(PLUGINS):
        for function in _functions(path):
            section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", ast.get_docstring(function) or "", re.MULTILINE)
            entries = re.findall(r"^    (\S[\w*, ]*):", section.group(1) if section else "", re.MULTILINE)
            documented = {name.strip(" *") for entry in entries for name in entry.split(",")}
            given = function.args
            there = given.posonlyargs + given.args + given.kwonlyargs + [given.vararg, given.kwarg]
            for name in sorted(documented - {argument.arg for argument in there if argument is not None}):
                gone.append("%s:%d: %s of %s" % (_relative(path), function.lineno, name, function.name))
    assert not gone, _list(gone)


# --- who imports whom ------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def _imports(path):
    """Names that a file imports, absolute: 'os', 'gpufleet.module_utils.memory.load.Load'.

    The collection's own names begin with 'gpufleet.'; a relative import is resolved.
    """
    package = ["gpufleet"] + list(path.relative_to(PLUGINS).parts[:-1]) if PLUGINS in path.parents else []
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            found |= {"%s.%s" % (base, alias.name) for alias in node.names}
    return {name.replace("ansible_collections.gpufleet.ollama.plugins", "gpufleet") for name in found}


def _imported_files(path):
    """Files of module_utils that a file imports."""
    files = set()
    for name in _imports(path):
        parts = name.split(".")
        if parts[:2] == ["gpufleet", "module_utils"]:
            place = ROOMS.joinpath(*parts[2:])
            files |= {file for file in (place.with_suffix(".py"), place.parent.with_suffix(".py")) if file.is_file()}
    return files


def _room(path):
    return path.relative_to(ROOMS).parts[0]


def test_the_table_of_rooms_has_no_circle():
    rooms = list(ARROWS)
    for number, room in enumerate(rooms):
        assert ARROWS[room] <= set(rooms[:number]), room
    assert set(rooms) == {path.name for path in ROOMS.iterdir() if path.is_dir() and (path / "__init__.py").exists()}


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_rooms_that_it_may_know(room):
    wrong = [
        "%s imports %s" % (_relative(path), _relative(file))
        for path in _python(ROOMS / room)
        for file in sorted(_imported_files(path))
        if _room(file) != room and _room(file) not in ARROWS[room]
    ]
    assert not wrong, _list(wrong)


def test_rooms_do_not_import_modules():
    wrong = [
        "%s imports %s" % (_relative(path), name)
        for path in _python(ROOMS)
        for name in sorted(_imports(path))
        if name.startswith("gpufleet.") and not name.startswith("gpufleet.module_utils.")
    ]
    assert not wrong, _list(wrong)


def test_imports_within_the_rooms_are_relative():
    wrong = [
        "%s: %s" % (_relative(path), node.module)
        for path in _python(ROOMS)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible_collections.")
    ]
    assert not wrong, _list(wrong)


def test_modules_import_no_modules():
    """What two modules share is in a room."""
    wrong = [
        "%s imports %s" % (_relative(path), name)
        for path in _python(PLUGINS / "modules")
        for name in sorted(_imports(path))
        if name.startswith("gpufleet.") and not name.startswith("gpufleet.module_utils.")
    ]
    assert not wrong, _list(wrong)


def _does_io(path):
    """Why a file is not pure: names of modules that reach outside, and calls of open()."""
    reasons = sorted({name.split(".")[0] for name in _imports(path)} & INPUT_OUTPUT)
    calls = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Call)]
    return reasons + ["open()" for call in calls if getattr(call.func, "id", None) == "open"]


def _is_pure(path):
    return _room(path) in PURE_ROOMS or bool(re.search(r"\bPure[.:]", ast.get_docstring(_tree(path)) or ""))


def test_what_is_pure_does_no_input_or_output():
    wrong = []
    for start in filter(_is_pure, _python(ROOMS)):
        waiting, seen = [start], set()
        while waiting:
            path = waiting.pop()
            if path not in seen:
                seen.add(path)
                wrong += ["%s, imported by %s: %s" % (_relative(path), _relative(start), why) for why in _does_io(path)]
                waiting += _imported_files(path)
    assert not wrong, _list(wrong)


def test_the_rig_does_not_import_the_product():
    wrong = [
        "%s imports %s" % (_relative(path), name)
        for path in _python(CHECKOUT / "tests" / "rig")
        for name in _imports(path)
        if name.startswith(("gpufleet.", "ansible_collections.gpufleet.", "plugins.", "module_utils."))
    ]
    assert not wrong, _list(wrong)


# --- tests mirror the files ------------------------------------------------------------------------


def _own_test(name):
    """The test file that mirrors a file of module_utils."""
    path = pathlib.PurePosixPath(name)
    return UNIT_TESTS / path.parent / ("test_%s.py" % path.stem)


def _elsewhere():
    """{file: its test file} of TESTED_ELSEWHERE."""
    return {
        folder + name + ".py": UNIT_TESTS / test
        for test, (_reason, folder, names) in TESTED_ELSEWHERE.items()
        for name in names.split()
    }


def test_every_file_with_logic_has_its_test_file():
    elsewhere = _elsewhere()
    files = {path.relative_to(ROOMS).as_posix(): path for path in _python(ROOMS)}
    missing = [
        name for name, path in files.items() if _functions(path) and not elsewhere.get(name, _own_test(name)).is_file()
    ]
    assert not missing, _list(missing)


def test_the_table_of_other_test_files_is_needed():
    for name in _elsewhere():
        assert (ROOMS / name).is_file(), name
        assert not _own_test(name).is_file(), name


def test_every_test_file_has_its_room():
    folders = {path.parent.relative_to(UNIT_TESTS) for path in UNIT_TESTS.rglob("test_*.py")}
    assert not [str(folder) for folder in folders if not (ROOMS / folder).is_dir()]
