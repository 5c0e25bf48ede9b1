"""Files are written whole or not at all, and read without running or waiting for anything."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from hf_robust_tickets._files import (
    read_array,
    read_bytes,
    read_json,
    read_plain_pickle,
    read_text,
    read_yaml,
    replacing,
    write_json,
    write_text,
)
from hf_robust_tickets.errors import CheckpointError, ConfigurationError


class Command:
    """A pickle of this runs a command when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_file_is_replaced_whole_or_stays(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "first")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "first"
        raise RuntimeError
    assert path.read_text() == "first" and [found.name for found in path.parent.iterdir()] == ["file.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"whole": True})
    code = """
        import os, sys
        from hf_robust_tickets._files import replacing
        with replacing(sys.argv[1]) as temporary:
            temporary.write_text("{")
            os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], cwd=Path(__file__).parents[1])
    assert done.returncode == -9
    assert read_json(path) == {"whole": True}


def test_content_and_folder_are_synced_before_the_name_changes(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("sync") or sync(fd))
    monkeypatch.setattr(os, "replace", lambda *paths: calls.append("replace") or replace(*paths))
    write_text(tmp_path / "file", "text")
    assert calls == ["sync", "replace", "sync"]


@pytest.mark.parametrize("path", ["", "folder", "file/below"])
def test_where_nothing_can_be_written_is_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    with pytest.raises(ConfigurationError, match="expected") as caught:
        write_text(path, "text")
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir()) == ["file", "folder"] and not os.listdir("folder")


def test_lone_surrogates_come_back_from_a_file_that_any_reader_takes(tmp_path):
    write_json(tmp_path / "file.json", {"text": "a\ud800b"})
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == {"text": "a\ud800b"}
    assert read_json(tmp_path / "file.json") == {"text": "a\ud800b"}


def test_values_that_are_no_json_leave_the_old_file(tmp_path):
    write_json(tmp_path / "file.json", {"a": 1})
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (float("nan"), object(), deep):
        with pytest.raises(ConfigurationError, match=r"plain values for file\.json"):
            write_json(tmp_path / "file.json", {"a": value})
    assert read_json(tmp_path / "file.json") == {"a": 1}


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (read_bytes, read_text, read_json, read_plain_pickle, read_array):
        with pytest.raises(CheckpointError, match="expected"):
            read(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="it is a folder"):
        read_bytes(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_bytes(tmp_path / "none")


def test_a_file_that_is_too_large_is_refused(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(CheckpointError, match="at most 1,073,741,824 bytes"):
        read_text(tmp_path / "large")


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b"[" * 200_000, b""])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="expected a report") as caught:
        read_json(tmp_path / "file", "a report")
    assert "\n" not in str(caught.value)


def test_aliases_in_yaml_are_read_until_they_are_too_many(tmp_path):
    (tmp_path / "few.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(tmp_path / "few.yaml") == {"a": [1, 2], "b": [1, 2]}
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
    (tmp_path / "many.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match="aliases stand for more than 100,000 values"):
        read_yaml(tmp_path / "many.yaml")


def test_a_pickle_that_would_run_code_is_refused_unread(tmp_path):
    for number, value in enumerate([Command(tmp_path / "ran"), {"a": np.float64(1)}, Path("x")]):
        (tmp_path / f"{number}.pickle").write_bytes(pickle.dumps(value))
        with pytest.raises(CheckpointError, match="asks for the code"):
            read_plain_pickle(tmp_path / f"{number}.pickle")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "plain").write_bytes(pickle.dumps({"good": 0, "bad": [1.5, ("a", None)]}))
    assert read_plain_pickle(tmp_path / "plain") == {"good": 0, "bad": [1.5, ("a", None)]}


@pytest.mark.parametrize("content", [b"", b"\x80\x05", b"no pickle", pickle.dumps({"a": 1})[:-3]])
def test_a_damaged_pickle_is_one_line(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="expected a pickle with plain values"):
        read_plain_pickle(tmp_path / "file")


def test_an_array_of_objects_is_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([Command(tmp_path / "ran")], dtype=object), allow_pickle=True)
    (tmp_path / "none.npy").write_bytes(pickle.dumps({"a": 1}))
    for name in ("objects", "none"):
        with pytest.raises(CheckpointError, match="expected an array"):
            read_array(tmp_path / f"{name}.npy")
    np.save(tmp_path / "numbers.npy", np.arange(3))
    assert read_array(tmp_path / "numbers.npy").tolist() == [0, 1, 2]
    assert not (tmp_path / "ran").exists()
