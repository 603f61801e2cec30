# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is written twice in this repository says the same twice; rules that no other gate checks."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
ROLE = CHECKOUT / "roles" / "ollama_multigpu"
MODULES = sorted(path for path in (CHECKOUT / "plugins" / "modules").glob("*.py") if path.stem != "__init__")
LONGEST_FILE = {".c": 560}  # the fake library is one translation unit; everything else: 500 lines
FILE_KINDS = (
    ".py",
    ".yml",
    ".yaml",
    ".j2",
    ".svg",
    ".sh",
    ".c",
    ".h",
    ".lua",
    ".service",
    ".go",
    ".md",
    ".rst",
    ".toml",
    ".cfg",
    ".ini",
    ".txt",
    "",
)

# Written in pieces so that this file itself obeys the rule.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "files.python" + "hosted.org",
    "registry.npm" + "js.org",
    "static.crates" + ".io",
    "deb.debian" + ".org",
    "proxy.golang" + ".org",
]
MACHINE_PATHS = ["/wo" + "rk/main", "/wo" + "rk/sha", "/wo" + "rk/br", "/ro" + "ot/.cache", "/ro" + "ot/.pyenv"]


def _load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _files():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=str(CHECKOUT),
        stdout=subprocess.PIPE,
        check=True,
    )
    return [
        CHECKOUT / name
        for name in sorted(listed.stdout.decode("utf-8").split("\0"))
        if name and (CHECKOUT / name).is_file()
    ]


def _text(path):
    return path.read_text(encoding="utf-8", errors="replace")


def _constant(path, name):
    """Value of a string constant of a module, without importing it."""
    for node in ast.parse(_text(path)).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", None) == name for target in node.targets):
            return ast.literal_eval(node.value)
    return None


def _table(heading, page):
    """Rows of the first table below a heading of a page: lists of cells."""
    text = page.read_text(encoding="utf-8")
    section = re.split(
        r"^#+ ",
        re.split(r"^##+ %s$" % heading, text, maxsplit=1, flags=re.MULTILINE)[1],
        maxsplit=1,
        flags=re.MULTILINE,
    )[0]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    return rows[2:]


def _as_text(value):
    """A default as the README writes it."""
    if value is None:
        return ""
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


# --- the collection -------------------------------------------------------------------------------


def test_galaxy_metadata():
    meta = _load(CHECKOUT / "galaxy.yml")
    assert (meta["namespace"], meta["name"]) == ("gpufleet", "ollama")
    assert set(meta["license"]) == {path.stem for path in (CHECKOUT / "LICENSES").glob("*.txt")}
    assert meta["dependencies"] == {}, "Galaxy need not be reachable to use this collection"


def test_every_module_is_in_the_action_group():
    runtime = _load(CHECKOUT / "meta" / "runtime.yml")
    assert runtime["action_groups"]["all"] == [path.stem for path in MODULES]
    assert runtime["requires_ansible"] == ">=2.17.0"


def test_every_action_plugin_belongs_to_a_module():
    actions = {path.stem for path in (CHECKOUT / "plugins" / "action").glob("*.py")} - {"__init__"}
    assert actions <= {path.stem for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_is_documented(path):
    documentation = yaml.safe_load(_constant(path, "DOCUMENTATION"))
    assert documentation["module"] == path.stem
    assert documentation["version_added"] == "1.0.0"
    assert {"gpufleet.ollama.attributes", "gpufleet.ollama.attributes.actiongroup_all"} <= set(
        documentation["extends_documentation_fragment"]
    )
    assert {"check_mode", "diff_mode"} <= set(documentation["attributes"])
    assert yaml.safe_load(_constant(path, "RETURN"))
    tasks = yaml.safe_load(_constant(path, "EXAMPLES"))
    used = {key for task in tasks for key in task if key.startswith("gpufleet.ollama.")}
    assert "gpufleet.ollama." + path.stem in used


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_has_unit_tests(path):
    """A test runs the module itself; tests of the rooms below are not enough."""
    runs = re.compile(
        r"""plugins\.modules import (\w+, )*%(name)s\b|run_module\(\s*"%(name)s"|gpufleet\.ollama\.%(name)s\b"""
        % {"name": path.stem}
    )
    assert [test for test in (CHECKOUT / "tests" / "unit" / "plugins").glob("**/test_*.py") if runs.search(_text(test))]


def test_packages_are_empty_so_that_ansible_ships_them():
    for package in (CHECKOUT / "plugins" / "module_utils").glob("**/"):
        if any(package.glob("*.py")):
            assert (package / "__init__.py").read_bytes() == b"", package


def test_changelog_fragments():
    sections = {name for name, title in _load(CHECKOUT / "changelogs" / "config.yaml")["sections"]} | {
        "release_summary",
        "trivial",
    }
    fragments = sorted((CHECKOUT / "changelogs" / "fragments").glob("*"))
    assert fragments, "what is not released yet is told in fragments"
    for path in fragments:
        content = _load(path)
        assert path.suffix == ".yml" and set(content) <= sections, path


# --- the role -------------------------------------------------------------------------------------


def _options(entry):
    return _load(ROLE / "meta" / "argument_specs.yml")["argument_specs"][entry]["options"]


def test_defaults_are_the_documented_defaults():
    defaults = _load(ROLE / "defaults" / "main.yml")
    documented = {}
    for entry in _load(ROLE / "meta" / "argument_specs.yml")["argument_specs"]:
        for name, option in _options(entry).items():
            documented.setdefault(name, option.get("default"))
    assert set(documented) == set(defaults)
    for name, value in defaults.items():
        if "{{" not in str(value):
            assert documented[name] in (value, [value]), name


def test_every_variable_of_the_role_is_in_its_list():
    """One that is missing there would be refused as unknown."""
    settings = _load(ROLE / "vars" / "main.yml")["__ollama_multigpu_inputs"]
    of_playbooks = {"ollama_multigpu_hosts", "ollama_multigpu_canary", "ollama_multigpu_upgrade_serial"}
    assert set(settings) - of_playbooks == set(_load(ROLE / "defaults" / "main.yml"))
    for name, value in settings.items():
        assert value.startswith("{{ %s " % name), name


@pytest.mark.parametrize("path", sorted((ROLE / "tasks").rglob("*.yml")), ids=lambda path: path.stem)
def test_tasks_read_the_variables_that_were_evaluated_once(path):
    """A fact of a host outranks the variable itself."""
    names = "|".join(_load(ROLE / "defaults" / "main.yml"))
    lines = [line for line in _text(path).splitlines() if not line.lstrip().startswith("#")]
    direct = re.compile(r"(?<![\w./])(%s)\b|\binventory_hostname|\bplaybook_dir|\brole_path" % names)
    assert not [line for line in lines if direct.search(line)]


def test_entry_points_evaluate_the_variables_first():
    for entry in ("plan", "verify", "benchmark", "diagnose", "remove"):
        first = _load(ROLE / "tasks" / (entry + ".yml"))[0]
        assert first["ansible.builtin.import_tasks"] == "freeze.yml", entry
        assert first.get("when", "not __ollama_multigpu_is_stage") == "not __ollama_multigpu_is_stage"
        if entry != "plan":  # which checks the values as well
            second = _load(ROLE / "tasks" / (entry + ".yml"))[1]
            assert {**second, "name": first["name"]} == {**first, "ansible.builtin.import_tasks": "names.yml"}, entry
    first = _load(ROLE / "tasks" / "main.yml")[0]
    assert first["ansible.builtin.import_tasks"] == "plan.yml" and "always" in first["tags"]
    assert _load(ROLE / "tasks" / "rollback.yml")[0]["ansible.builtin.import_tasks"] == "main.yml"


def test_no_answer_of_a_host_names_anything_on_the_controller():
    """Options of the tasks on the controller that name a file or an address there."""
    frozen = re.compile(
        r"\{\{ (__ollama_multigpu_(settings|controller)(\.| \}\}$)|item\.(name|insecure|adapter|source\.\w+)\b)"
        r"|registry$|file$|True$|\{\{ ansible_play_hosts_all \}\}$"
    )
    found = set()
    for path in (ROLE / "tasks").rglob("*.yml"):
        tasks = _load(path)
        while tasks:
            task = tasks.pop()
            tasks += task.get("block", []) + task.get("rescue", []) + task.get("always", [])
            if "gpufleet.ollama.model_file" in task:
                options = task["gpufleet.ollama.model_file"]
                assert options["path"] == "{{ item.item.source.file }}" and "sent_files" in task["loop"]
            own = {
                "gpufleet.ollama.evidence_file": ["evidence"],
                "gpufleet.ollama.endpoints_file": ["endpoints", "state"],
                "gpufleet.ollama.plan_file": ["plan", "difference", "read", "gpu_inventory", "obstacles"],
                # A gateway looks for them in its own configuration.
                "gpufleet.ollama.gateway_drain": ["instances", "state", "timeout"],
            }
            written = sum((own[key] for key in own if key in task), [])
            if task.get("delegate_to") or written:
                (options,) = [task[key] for key in task if "." in key]
                wrong = [key for key in options if key not in written and not frozen.match(str(options[key]))]
                assert not wrong, (task["name"], wrong)
                models = "{{ __ollama_multigpu_settings.ollama_multigpu_models | gpufleet.ollama.models_to_read }}"
                loops = (models, "{{ __ollama_multigpu_own_files_to_read }}", "{{ __ollama_multigpu_gateways }}")
                assert task.get("loop", models) in loops
                found.add(path.stem)
    of_plans = {"plan", "file", "reviewed"}
    others = {"headers_controller", "headers_own", "plan_again", "evidence", "main", "one", "remove"}
    assert found == of_plans | others


def test_the_plan_takes_every_option_that_the_role_has_a_variable_for():
    (task,) = [task for task in _load(ROLE / "tasks" / "plan" / "placement.yml") if "Plan which" in task["name"]]
    options = yaml.safe_load(_constant(CHECKOUT / "plugins" / "modules" / "placement_info.py", "DOCUMENTATION"))[
        "options"
    ]
    fragment = _text(CHECKOUT / "plugins" / "doc_fragments" / "gpu_options.py").split('"""')[1]
    for name in [*options, *yaml.safe_load(fragment)["options"]]:
        if "ollama_multigpu_" + name in _load(ROLE / "defaults" / "main.yml"):
            assert name in task["gpufleet.ollama.placement_info"], name


def test_a_diagnosis_takes_every_option_of_the_module():
    """With the same defaults: a question loads the host, so it is asked only on request."""
    module = CHECKOUT / "plugins" / "modules" / "diagnosis_info.py"
    options = yaml.safe_load(_constant(module, "DOCUMENTATION"))["options"]
    (task,) = [task for task in _load(ROLE / "tasks" / "diagnose.yml") if "gpufleet.ollama.diagnosis_info" in task]
    names = {name: "ollama_multigpu_diagnose_" + name for name in options}
    given = {name: "{{ __ollama_multigpu_settings.%s }}" % variable for name, variable in names.items()}
    assert task["gpufleet.ollama.diagnosis_info"] == given
    documented = {name: (one["type"], one["default"]) for name, one in _options("diagnose").items()}
    assert documented == {names[name]: (one["type"], one["default"]) for name, one in options.items()}
    assert documented["ollama_multigpu_diagnose_answers"] == ("bool", False)


@pytest.mark.parametrize(
    "playbook", ["benchmark", "diagnose", "gateway_remove", "plan", "remove", "report", "rollback", "verify"]
)
def test_a_playbook_runs_its_entry_point(playbook):
    """Also in a run with tags."""
    (play,) = _load(CHECKOUT / "playbooks" / (playbook + ".yml"))
    (task,) = play["tasks"]
    role, entry = ("gateway", "remove") if playbook == "gateway_remove" else ("multigpu", playbook)
    role = {"name": "gpufleet.ollama.ollama_" + role, "tasks_from": entry, "apply": {"tags": ["always"]}}
    assert task["ansible.builtin.include_role"] == role and task["tags"] == ["always"]
    assert play["gather_facts"] is False


def test_a_switch_has_the_limits_of_the_role():
    """How much slower a model may be, how long to wait for quiet, and how long to watch after the last one."""
    for path in (ROLE / "tasks").rglob("*.yml"):
        tasks = _load(path)
        while tasks:
            task = tasks.pop()
            tasks += task.get("block", []) + task.get("rescue", []) + task.get("always", [])
            options = task.get("gpufleet.ollama.instance_switch")
            for name in ("slowdown_allowed", "quiet_timeout") if options else ():
                assert options.get(name) == "{{ __ollama_multigpu_%s }}" % name, (path.name, name)
            if options:
                assert "__ollama_multigpu_watch_time" in options["watch_time"], path.name


def test_entry_points_are_task_files():
    entries = _load(ROLE / "meta" / "argument_specs.yml")["argument_specs"]
    assert {"main", "plan", "upgrade", "rollback", "verify", "remove"} <= set(entries)
    for entry in entries:
        assert (ROLE / "tasks" / (entry + ".yml")).is_file(), entry


def test_main_is_a_table_of_contents():
    tasks = _load(ROLE / "tasks" / "main.yml")
    for task in [inner for task in tasks for inner in task.get("block", []) + task.get("rescue", []) or [task]]:
        assert set(task) & {"ansible.builtin.import_tasks", "ansible.builtin.include_tasks"} and task.get("tags"), task


def test_what_was_taken_over_is_given_back_whatever_fails():
    """From the stop of an Ollama from elsewhere to the plan that is written down last."""
    (block,) = [task for task in _load(ROLE / "tasks" / "main.yml") if "block" in task]
    stages = [task["ansible.builtin.import_tasks"] for task in block["block"]]
    assert stages == ["switch/main.yml", "finish/main.yml"] and block.get("tags") is None
    (failed,) = block["rescue"]
    assert all(task["tags"] == failed["tags"] for task in block["block"])
    tasks = _load(ROLE / "tasks" / failed["ansible.builtin.import_tasks"])
    assert "give_back.yml" in tasks[1]["ansible.builtin.include_tasks"]["file"]
    assert tasks[1]["ansible.builtin.include_tasks"]["apply"]["tags"] == failed["tags"]
    assert "ansible.builtin.fail" in tasks[-1], "a host that failed stays failed"
    assert "ansible_failed_result" not in (ROLE / "tasks" / "switch" / "failed.yml").read_text(encoding="utf-8")


# --- the README -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROLE / "tasks").rglob("*.yml")), ids=lambda path: path.stem)
def test_no_result_of_a_comparison_is_printed_by_a_failure(path):
    """Ansible prints a result that fails as a whole, and these hold environments with passwords: a task of its own
    fails with the message alone."""
    tasks = _load(path)
    while tasks:
        task = tasks.pop()
        tasks += task.get("block", []) + task.get("rescue", []) + task.get("always", [])
        assert "gpufleet.ollama.changes_info" not in task or "failed_when" not in task, task["name"]


def test_the_guide_for_contributors_lists_what_only_test_full_runs():
    """The files that have the mark or read tests.session.FULL."""
    asking = re.compile(r"pytest\.mark\.full|\bFULL\b")
    files = [path for path in _files() if "integration" in path.parts and asking.search(_text(path))]
    assert [row[0].strip("`") for row in _table("Tests", CHECKOUT / "CONTRIBUTING.md")] == [path.name for path in files]


def test_nothing_else_asks_for_the_long_tests():
    named = "GPUFLEET_" + "FULL"
    asking = [path for path in _files() if path.suffix == ".py" and re.search("environ.*" + named, _text(path))]
    assert asking == [CHECKOUT / "tests" / "session.py"]


def test_readme_lists_the_modules():
    rows = _table("Modules", CHECKOUT / "plugins" / "README.md")
    assert [row[0].strip("`") for row in rows] == [path.stem for path in MODULES]
    for row, path in zip(rows, MODULES):
        assert row[1] == yaml.safe_load(_constant(path, "DOCUMENTATION"))["short_description"], path.stem


def test_readme_lists_the_variables_of_the_role():
    defaults = _load(ROLE / "defaults" / "main.yml")
    rows = {row[0].strip("`"): row[1] for row in _table("Variables of the role", ROLE / "README.md")}
    assert sorted(rows) == sorted(defaults)
    for name, shown in rows.items():
        if "{{" not in str(defaults[name]):
            assert shown.strip("`") == _as_text(defaults[name]), name


def _first_paragraph(option):
    """The first paragraph of an option's description as the README writes it."""
    description = option["description"]
    text = description if isinstance(description, str) else description[0]
    return re.sub(r"[COV]\(([^)]*)\)", r"`\1`", text).rstrip(".")


def test_readme_says_of_variables_what_their_documentation_says():
    options = {**_options("main"), **_options("benchmark"), **_options("diagnose")}
    documented = {name: _first_paragraph(option) for name, option in options.items()}
    assert {row[0].strip("`"): row[2] for row in _table("Variables of the role", ROLE / "README.md")} == documented
    keys = _options("main")["ollama_multigpu_models"]["options"]
    documented = {name: _first_paragraph(option) for name, option in keys.items()}
    assert {row[0].strip("`"): row[2] for row in _table("Keys of a model", ROLE / "README.md")} == documented


def test_readme_lists_the_keys_of_a_model():
    options = _options("main")["ollama_multigpu_models"]["options"]
    rows = _table("Keys of a model", ROLE / "README.md")
    assert sorted(row[0].strip("`") for row in rows) == sorted(options)
    for row in rows:
        assert row[1].strip("`") == _as_text(options[row[0].strip("`")].get("default")), row[0]


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 220, "it is one page: what is long belongs into a guide"
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in links if not (CHECKOUT / link).is_file()] == []
    guides = {path.name for path in (CHECKOUT / "docs" / "docsite" / "rst").glob("*.rst")}
    assert guides <= {link.rpartition("/")[2] for link in links}


# --- the files ------------------------------------------------------------------------------------


def test_no_registry_host_and_no_path_of_one_machine():
    found = []
    for path in _files():
        text = _text(path)
        found += ["%s: %s" % (path.relative_to(CHECKOUT), word) for word in REGISTRY_HOSTS if word in text]
        if "fixtures" not in path.parts and path.name not in ("constraints.txt", "COPYING"):
            found += ["%s: %s" % (path.relative_to(CHECKOUT), word) for word in MACHINE_PATHS if word in text]
    assert not found


def test_nothing_reads_the_folder_beside_the_checkout():
    word = "../sha" + "red"
    assert not [str(path) for path in _files() if word in _text(path)]


def test_every_case_of_a_public_report_is_a_test():
    cases = (CHECKOUT / "tests" / "fixtures" / "cases").glob("*.json")
    tests = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "tests").rglob("test_*.py"))
    assert [path.stem for path in cases if path.stem not in tests] == []


def test_no_binaries():
    known = {".json", ".jsonl"} | set(FILE_KINDS)
    for path in _files():
        assert b"\0" not in path.read_bytes() and (path.suffix in known or path.name.startswith(".")), path


def test_files_are_short():
    # The last three: tables with a value on each line, and the documentation of all variables, which is one file.
    data = {"COPYING", "GPL-3.0-or-later.txt", "dimensions.py", "lies.rst", "argument_specs.yml"}
    long = {
        str(path.relative_to(CHECKOUT)): len(_text(path).splitlines())
        for path in _files()
        if "fixtures" not in path.parts and path.suffix in FILE_KINDS and path.name not in data
    }
    assert not {name: lines for name, lines in long.items() if lines > LONGEST_FILE.get(pathlib.Path(name).suffix, 500)}


def test_licence_headers():
    missing = []
    for path in _files():
        relative = path.relative_to(CHECKOUT)
        if path.suffix != ".py" or path.name == "__init__.py":
            continue
        head = _text(path)[:600]
        wanted = "BSD-2-Clause" if relative.parts[:2] == ("plugins", "module_utils") else "GPL-3.0-or-later"
        if "SPDX-License-Identifier: " + wanted not in head:
            missing.append(str(relative))
        elif (
            relative.parts[0] == "plugins"
            and wanted.startswith("GPL")
            and "GNU General Public License v3.0+" not in head
        ):
            missing.append(str(relative))
    assert not missing
