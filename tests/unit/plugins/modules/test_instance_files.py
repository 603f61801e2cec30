# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module instance_files on directories of this machine."""

from __future__ import annotations

import grp
import os
import pwd
import stat

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit.plugins.modules.run_module import run_module

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name


def put(*files, check=False, diff=True):
    """Result of one run. Check mode must have predicted it, and a second run must change nothing."""
    files = [{key: str(value) if key == "path" else value for key, value in entry.items()} for entry in files]
    foreseen = run_module("instance_files", {"files": files}, check=True, diff=diff)
    if check:
        return foreseen
    result = run_module("instance_files", {"files": files}, diff=diff)
    if not result.get("failed"):
        assert [entry["action"] for entry in result["files"]] == [entry["action"] for entry in foreseen["files"]]
        assert result.get("diff") == foreseen.get("diff")
        again = run_module("instance_files", {"files": files}, diff=diff)
        assert not again["changed"] and {entry["action"] for entry in again["files"]} == {"none"}, again
        assert again.get("diff", []) == []
    return result


def actions(result):
    assert not result.get("failed"), result
    return [entry["action"] for entry in result["files"]]


def mode(path):
    return "%04o" % stat.S_IMODE(os.lstat(str(path)).st_mode)


def test_everything_of_an_instance_in_one_run(tmp_path):
    etc = tmp_path / "etc"
    files = [
        {"path": etc / "instances", "state": "directory", "mode": "0750", "owner": ME, "group": MY_GROUP},
        {"path": etc / "instances" / "gpu0.env", "content": "A=1\n", "mode": "0640", "owner": ME, "group": MY_GROUP},
        {"path": tmp_path / "current", "state": "link", "target": "releases/0.32.15"},
        {"path": tmp_path / "stale", "state": "absent"},
    ]
    result = put(*files)
    assert actions(result) == ["create", "create", "create", "none"]
    assert mode(etc / "instances") == "0750" and mode(etc) == "0755", "missing parents are not given away"
    assert mode(etc / "instances" / "gpu0.env") == "0640" and (etc / "instances" / "gpu0.env").read_text() == "A=1\n"
    assert os.readlink(str(tmp_path / "current")) == "releases/0.32.15"
    assert sorted(os.listdir(str(etc / "instances"))) == ["gpu0.env"], "no draft is left"


def test_nothing_is_made_in_check_mode(tmp_path):
    result = put(
        {"path": tmp_path / "a", "state": "directory"},
        {"path": tmp_path / "a" / "file", "content": "x"},
        {"path": tmp_path / "b" / "link", "state": "link", "target": "x"},
        check=True,
    )
    assert actions(result) == ["create"] * 3 and os.listdir(str(tmp_path)) == []


def test_a_changed_content_shows_and_keeps_owner_and_mode(tmp_path):
    path = tmp_path / "file"
    path.write_text("old\n")
    path.chmod(0o604)
    result = put({"path": path, "content": "new\n"})
    assert actions(result) == ["change"] and path.read_text() == "new\n" and mode(path) == "0604"
    assert result["diff"] == [
        {"before": "old\n", "after": "new\n", "before_header": str(path), "after_header": str(path)}
    ]


def test_a_changed_content_and_a_changed_mode_show_both(tmp_path):
    path = tmp_path / "file"
    path.write_text("old\n")
    path.chmod(0o604)
    result = put({"path": path, "content": "new\n", "mode": "0640"})
    assert actions(result) == ["change"] and mode(path) == "0640"
    assert [part["before"] for part in result["diff"]] == ["old\n", "%s: mode 0604\n" % path]


def test_a_new_file_without_a_mode_has_that_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        put({"path": tmp_path / "file", "content": "x"})
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == "0640"


def test_only_the_mode_differs(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0o644)
    result = put({"path": path, "content": "x", "mode": "0600"})
    assert actions(result) == ["attributes"] and mode(path) == "0600"
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == (
        "%s: mode 0644\n" % path,
        "%s: mode 0600\n" % path,
    )
    (tmp_path / "directory").mkdir(0o755)
    assert actions(put({"path": tmp_path / "directory", "state": "directory", "mode": 0o700})) == ["attributes"]
    assert mode(tmp_path / "directory") == "0700"


def test_contents_are_not_shown_where_that_is_asked(tmp_path):
    path = tmp_path / "adopted.json"
    path.write_text("old secret")
    result = put({"path": path, "content": "new secret", "diff": False, "backup": True})
    assert actions(result) == ["change"] and "secret" not in str(result), result
    result = put({"path": path, "state": "absent"})
    assert "secret" not in str(result) and result["diff"][0]["before"] == "%s: file\n" % path


def test_no_diff_outside_diff_mode(tmp_path):
    assert "diff" not in put({"path": tmp_path / "file", "content": "x"}, diff=False)


def test_a_difference_shows_no_secret(tmp_path):
    path = tmp_path / "gpu0.env"
    path.write_text('A_TOKEN="MARK1"\nOLLAMA_DEBUG="0"\n')
    result = put({"path": path, "content": 'A_TOKEN="MARK2"\nOLLAMA_DEBUG="1"\n'})
    assert path.read_text().startswith('A_TOKEN="MARK2"') and "MARK" not in str(result)
    assert 'OLLAMA_DEBUG="1"' in result["diff"][0]["after"]


def test_the_invocation_has_no_contents(tmp_path):
    """Ansible shows it with -vvv and keeps it in registered variables."""
    from ansible.module_utils import basic

    shown = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "log", lambda self, msg, log_args=None: shown.update(log=msg))
        patch.setattr(
            basic.AnsibleModule, "_return_formatted", lambda self, result: shown.update(result=result), raising=True
        )
        with pytest.raises(ValueError):
            run_module("instance_files", {"files": [{"path": str(tmp_path / "file"), "content": "se\ncret"}]})
    assert "cret" not in shown["log"] and "invocation" in shown["result"]
    assert "cret" not in str(shown["result"]["invocation"])


def test_a_removed_file_is_shown_and_copied_where_that_is_asked(tmp_path):
    path = tmp_path / "override.conf"
    path.write_text("[Service]\n")
    result = put({"path": path, "state": "absent", "backup": True, "diff": True})
    assert actions(result) == ["remove"] and not path.exists()
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == ("[Service]\n", "")
    with open(result["files"][0]["backup_file"]) as stream:
        assert stream.read() == "[Service]\n"


def test_a_directory_is_removed_with_what_is_in_it_and_nothing_else(tmp_path):
    (tmp_path / "store" / "blobs").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    result = put(
        {"path": tmp_path / "store", "state": "absent"}, {"path": str(tmp_path / "link") + "/", "state": "absent"}
    )
    assert actions(result) == ["remove", "remove"]
    assert os.listdir(str(tmp_path)) == ["kept"] and (tmp_path / "kept" / "file").exists()


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_link_is_pointed_elsewhere(tmp_path):
    link = tmp_path / "current"
    link.symlink_to("releases/1")
    result = put({"path": link, "state": "link", "target": "releases/2"})
    assert actions(result) == ["change"] and os.readlink(str(link)) == "releases/2"
    assert result["diff"][0]["before"] == "%s: link, target releases/1\n" % link


def test_a_file_in_the_place_of_a_link(tmp_path):
    path = tmp_path / "ollama"
    path.write_text("program")
    result = put({"path": path, "state": "link", "target": "x"})
    assert result["failed"] and "force: true" in result["msg"] and path.read_text() == "program"
    assert actions(put({"path": path, "state": "link", "target": "x", "force": True})) == ["change"]
    assert os.readlink(str(path)) == "x"


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("x")
    other.chmod(0o600)
    (tmp_path / "file").symlink_to(other)
    result = put({"path": tmp_path / "file", "content": "x", "mode": "0644"})
    assert actions(result) == ["change"] and not (tmp_path / "file").is_symlink()
    assert (other.read_text(), mode(other), mode(tmp_path / "file")) == ("x", "0600", "0644")


def test_a_directory_may_be_a_link_of_the_administrator_only(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir(0o755)
    (tmp_path / "models").symlink_to(tmp_path / "disk")
    assert actions(put({"path": tmp_path / "models", "state": "directory", "mode": "0750"})) == ["attributes"]
    assert mode(tmp_path / "disk") == "0750" and (tmp_path / "models").is_symlink()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if os.lstat(str(tmp_path / "models")).st_uid == 0:
        os.lchown(str(tmp_path / "models"), 4712, 4712)
    result = put({"path": tmp_path / "models", "state": "directory", "mode": "0700"})
    assert result["failed"] and "is not followed" in result["msg"] and mode(tmp_path / "disk") == "0750"


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
def test_something_of_another_kind_is_refused(tmp_path, check):
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("x")
    os.mkfifo(str(tmp_path / "fifo"))
    for entry, words in (
        ({"path": tmp_path / "directory", "content": "x"}, "is a directory, and a file is wanted there"),
        ({"path": tmp_path / "directory", "state": "link", "target": "x"}, "is a directory, and a link is wanted"),
        ({"path": tmp_path / "file", "state": "directory"}, "is a file, and a directory is wanted there"),
        ({"path": tmp_path / "fifo", "content": "x"}, "is a special file, and a file is wanted there"),
    ):
        result = put(entry, check=check)
        assert result["failed"] and words in result["msg"] and str(entry["path"]) in result["msg"], result


def test_a_failure_has_the_results_before_it(tmp_path):
    result = put({"path": tmp_path / "file", "content": "x"}, {"path": tmp_path / "no" / "file", "content": "x"})
    assert result["failed"] and "list that directory before it" in result["msg"]
    assert result["changed"] and [entry["action"] for entry in result["files"]] == ["create"]
    assert (tmp_path / "file").exists() and os.listdir(str(tmp_path)) == ["file"]


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"path": "relative"}, "absolute path"),
        ({"path": "/", "state": "absent"}, "not the root directory"),
        ({"path": "//", "state": "absent"}, "not the root directory"),
        ({"path": "/x", "state": "link"}, "needs target"),
        ({"path": "/x", "mode": "u=rw"}, "octal digits in quotes"),
        ({"path": "/x", "mode": "999"}, "octal digits in quotes"),
    ],
)
def test_wrong_options_are_refused(entry, words):
    result = put(entry, check=True)
    assert result["failed"] and words in result["msg"] and not result["changed"]


def test_an_unknown_owner(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    unknown = {"path": path, "content": "x", "owner": "nobody-has-this-name"}
    result = put(unknown, check=True)
    assert actions(result) == ["attributes"]
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == (
        "%s: owner %s\n" % (path, ME),
        "%s: owner nobody-has-this-name\n" % path,
    )
    result = put(unknown)
    assert result["failed"] and "which the host does not have" in result["msg"]
    new = dict(unknown, path=tmp_path / "new", state="directory")
    assert actions(put(new, check=True)) == ["create"]
    assert put(new)["failed"] and not (tmp_path / "new").exists()


def test_the_owner_is_set_before_the_file_is_in_place(tmp_path, monkeypatch):
    """Between a rename and a later chmod a secret would be readable by everybody."""
    seen = []
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda source, target: (seen.append(mode(source)), rename(source, target)))
    put({"path": tmp_path / "file", "content": "secret", "mode": "0600"})
    assert seen == ["0600"]
    if os.geteuid() == 0:
        put({"path": tmp_path / "file", "content": "other", "owner": "4711", "group": "4712"})
        status = os.stat(str(tmp_path / "file"))
        assert (status.st_uid, status.st_gid) == (4711, 4712) and mode(tmp_path / "file") == "0600"


def test_content_that_is_no_text_is_counted_in_the_diff(tmp_path):
    (tmp_path / "file").write_bytes(b"\0" * 7)
    assert put({"path": tmp_path / "file", "content": "ü\n"})["diff"][0]["before"] == "(7 bytes, not shown)\n"
    assert (tmp_path / "file").read_bytes() == "ü\n".encode()


# -- places of others --------------------------------------------------------------------------------------------------

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@only_root
def test_a_directory_is_not_in_place_before_it_has_its_owner(tmp_path, monkeypatch):
    """Nobody can exchange it between mkdir and chown: it is made where only root may enter, and then renamed."""
    (tmp_path / "victim").mkdir(0o755)
    chown, seen = os.chown, []

    def exchanged(path, *rest, **more):
        assert not (tmp_path / "store").exists() and mode(os.path.dirname(path)) == "0700"
        seen.append(path)
        chown(path, *rest, **more)
        (tmp_path / "store").symlink_to(tmp_path / "victim")  # what an owner of the parent could do now

    files = [{"path": str(tmp_path / "store"), "state": "directory", "mode": "0700", "owner": "4711"}]
    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", exchanged)
        result = run_module("instance_files", {"files": files})
    assert len(seen) == 1 and result["failed"] and "cannot be put into the state directory" in result["msg"]
    assert mode(tmp_path / "victim") == "0755" and os.stat(str(tmp_path / "victim")).st_uid == 0
    assert sorted(os.listdir(str(tmp_path))) == ["store", "victim"], "no draft is left"


@only_root
@pytest.mark.parametrize(
    "entry",
    [
        {"state": "directory", "owner": "4711", "group": "4711"},
        {"content": "x", "owner": "4711"},
        {"state": "link", "target": "x", "owner": "4711"},
        {"state": "absent"},
    ],
)
def test_nothing_is_done_in_a_place_of_others(tmp_path, entry):
    (tmp_path / "theirs" / "inner").mkdir(parents=True)
    (tmp_path / "theirs" / "inner" / "gpu0").mkdir()
    os.chown(str(tmp_path / "theirs"), 4711, 4711)
    (tmp_path / "link").symlink_to("theirs")
    for place in ("theirs/gpu0", "theirs/inner/gpu0", "link/inner/gpu0", "theirs/new/gpu0"):
        for check in (True, False):
            result = run_module("instance_files", {"files": [{"path": str(tmp_path / place), **entry}]}, check=check)
            assert result["failed"] and "/theirs belongs to 4711, who could exchange" in result["msg"], result
    assert os.listdir(str(tmp_path / "theirs" / "inner")) == ["gpu0"] and os.listdir(str(tmp_path / "theirs")) == [
        "inner"
    ]
    assert os.stat(str(tmp_path / "theirs" / "inner" / "gpu0")).st_uid == 0


def test_nothing_is_done_where_every_user_may_write(tmp_path):
    (tmp_path / "all").mkdir()
    os.chmod(str(tmp_path / "all"), 0o777)
    result = put({"path": tmp_path / "all" / "file", "content": "x"})
    assert result["failed"] and "chmod o-w" in result["msg"] and os.listdir(str(tmp_path / "all")) == []


@only_root
@pytest.mark.parametrize("owner, words", [("4712", "its owner is 4711, not 4712"), (None, "its group is")])
def test_a_directory_of_another_owner_is_refused(tmp_path, owner, words):
    (tmp_path / "store").mkdir(0o700)
    os.chown(str(tmp_path / "store"), 4711, 4711)
    entry = {"path": tmp_path / "store", "state": "directory", "mode": "0755", "owner": owner, "group": "4712"}
    for check in (True, False):
        result = put(entry, check=check)
        assert result["failed"] and words in result["msg"] and "after a look at what is in it" in result["msg"]
    status = os.stat(str(tmp_path / "store"))
    assert (status.st_uid, status.st_gid) == (4711, 4711) and mode(tmp_path / "store") == "0700"


@only_root
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_of_another_owner_is_replaced_and_not_given_away(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "file":
        path.write_text("x")
    else:
        path.symlink_to("x")
    os.chown(str(path), 4711, 4711, follow_symlinks=False)
    os.link(str(path), str(tmp_path / "other_name"), follow_symlinks=False)
    wanted = {"file": {"content": "x", "mode": "0640"}, "link": {"state": "link", "target": "x"}}[kind]
    assert actions(put({"path": path, "owner": ME, "group": MY_GROUP, **wanted})) == ["attributes"]
    assert os.lstat(str(path)).st_uid == 0 and os.lstat(str(tmp_path / "other_name")).st_uid == 4711
    assert os.lstat(str(path)).st_ino != os.lstat(str(tmp_path / "other_name")).st_ino


@only_root
def test_a_store_is_removed_by_the_service_user(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "USER", "nobody")
    user = pwd.getpwnam("nobody").pw_uid
    (tmp_path / "kept").write_text("x")
    (tmp_path / "store" / "blobs").mkdir(parents=True)
    (tmp_path / "store" / "link").symlink_to(tmp_path / "kept")
    for path in ("store", "store/blobs", "store/link"):
        os.lchown(str(tmp_path / path), user, user)
    assert actions(put({"path": tmp_path / "store", "state": "absent"})) == ["remove"]
    assert os.listdir(str(tmp_path)) == ["kept"]


def test_only_an_empty_directory_is_removed_where_that_is_asked(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    (tmp_path / "empty" / ".ansible-killed").mkdir(parents=True)
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "file").write_text("x")
    (tmp_path / "open" / "inner").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    names = ["full", "empty", "never_there", "link", "file", "open/inner"]
    files = [{"path": tmp_path / name, "state": "absent", "only_empty": True} for name in names]
    assert actions(put(*files)) == ["none", "remove", "none", "none", "none", "none"]
    assert sorted(os.listdir(str(tmp_path))) == ["file", "full", "link", "open"] and (tmp_path / "open/inner").exists()
