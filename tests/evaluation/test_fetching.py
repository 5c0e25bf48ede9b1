"""Downloads from a server that drops connections, resources from a folder, and the command for both."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import re
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hf_robust_tickets.cli.main import main
from hf_robust_tickets.errors import MissingResourceError
from hf_robust_tickets.evaluation import check_resources, fetch_resource, install_resource
from hf_robust_tickets.evaluation.resources import (
    RESOURCES,
    VECTORS_FILES,
    VECTORS_FOLDER,
    base,
    catalogue,
    download,
    ensure_resources,
)
from hf_robust_tickets.evaluation.resources.cache_files import CacheFiles
from hf_robust_tickets.evaluation.resources.nltk_data import NltkData
from tests.testing.file_server import FileServer
from tests.testing.tiny_parts import masked_lm, write_vectors

nltk = pytest.importorskip("nltk")
BODY = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 10_000)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    found = FileServer({"/file": BODY})
    yield found
    found.stop()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Empty caches."""
    monkeypatch.setenv("TA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk"))
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk")])
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    catalogue._try_to_fetch.cache_clear()
    yield tmp_path / "cache"
    catalogue._try_to_fetch.cache_clear()


def test_a_dropped_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.drop_after = [100_000, 100_000]
    download.download(f"{server.url}/file", tmp_path / "got", hashlib.sha256(BODY).hexdigest())
    assert (tmp_path / "got").read_bytes() == BODY
    starts = [0 if asked is None else int(asked[6:-1]) for asked in server.asked]
    assert len(starts) == 3 and starts[0] == 0 < starts[1] < starts[2]
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


def test_what_has_come_is_kept_for_the_next_call_and_dropped_when_the_file_has_changed(server, tmp_path):
    server.drop_after = [100_000, 0]  # the second attempt brings nothing: given up
    with pytest.raises(OSError, match=r"roken|ncomplete|aborted"):
        download.download(f"{server.url}/file", tmp_path / "got")
    kept = (tmp_path / "got.part").stat().st_size
    assert 0 < kept <= 100_000 and not (tmp_path / "got").exists()
    server.files["/file"], server.etag = BODY[::-1], '"2"'
    download.download(f"{server.url}/file", tmp_path / "got")
    assert server.asked[-1] == f"bytes={kept}-" and (tmp_path / "got").read_bytes() == BODY[::-1]
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


@pytest.mark.parametrize(("more", "requests"), [(b"", 2), (b"!", 3)], ids=["whole", "too long"])
def test_a_part_that_leaves_nothing_to_send(server, tmp_path, more, requests):
    server.drop_after = [100_000, 0]
    with pytest.raises(OSError, match=r"roken|ncomplete|aborted"):
        download.download(f"{server.url}/file", tmp_path / "got")
    (tmp_path / "got.part").write_bytes(BODY + more)  # killed before the part was put in place
    download.download(f"{server.url}/file", tmp_path / "got", hashlib.sha256(BODY).hexdigest())
    assert [path.name for path in tmp_path.iterdir()] == ["got"] and len(server.asked) == 1 + requests


def test_without_a_validator_a_part_is_removed(server, tmp_path):
    server.etag, server.drop_after = None, [100_000, 0]
    with pytest.raises(OSError, match=r"roken|ncomplete|aborted"):
        download.download(f"{server.url}/file", tmp_path / "got")
    assert not list(tmp_path.iterdir())


def test_another_file_than_the_known_one_is_refused_and_removed(server, tmp_path):
    with pytest.raises(OSError, match=r"expected .* to have the sha256 00, got"):
        download.download(f"{server.url}/file", tmp_path / "got", "00")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="404"):
        download.download(f"{server.url}/nothing", tmp_path / "got")
    assert not list(tmp_path.iterdir())


def vectors_archive(folder: Path) -> bytes:
    write_vectors(folder)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (folder / VECTORS_FOLDER).iterdir():
            archive.write(path, f"paragramcf/{path.name}")
    return packed.getvalue()


@pytest.fixture
def vectors_on(server, cache, monkeypatch, tmp_path):
    """The vectors' archive on a server that drops connections."""
    server.files["/vectors"] = vectors_archive(tmp_path / "made")
    known = RESOURCES["counter-fitted-vectors"]
    resource = CacheFiles(
        known.name, known.description, path=known.path, files=known.files, url=f"{server.url}/vectors"
    )
    monkeypatch.setitem(RESOURCES, known.name, resource)
    monkeypatch.setattr(download, "CHUNK", 100)
    return server


def test_a_failed_fetch_locks_nothing_and_the_next_one_completes_it(vectors_on, cache):
    vectors_on.drop_after = [500, 0]
    for _ in range(2):
        with pytest.raises(MissingResourceError, match="resources fetch counter-fitted-vectors"):
            ensure_resources(["counter-fitted-vectors"])  # tried once per process
    assert len(vectors_on.asked) == 2
    fetch_resource("counter-fitted-vectors")
    assert vectors_on.asked[-1] == "bytes=500-"
    assert RESOURCES["counter-fitted-vectors"].missing() is None
    assert sorted(path.name for path in (cache / VECTORS_FOLDER).parent.iterdir()) == ["paragramcf"]
    assert check_resources(["iga"])[0].available


def test_an_archive_that_is_none_is_one_line_and_leaves_nothing(vectors_on, cache):
    vectors_on.files["/vectors"] = b"<html>not found</html>"
    with pytest.raises(MissingResourceError, match="BadZipFile"):
        fetch_resource("counter-fitted-vectors")
    assert not [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size]


def wordnet_archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("wordnet/data.noun", "dog" * 30_000)
        archive.writestr("elsewhere/secret", "x")
        archive.writestr("../up", "x")
    return packed.getvalue()


@pytest.fixture
def two_resources(server, cache, monkeypatch, tmp_path):
    """The vectors and a WordNet, with their checksums, on a server that is slow."""
    server.files = {"/vectors": vectors_archive(tmp_path / "made"), "/corpora/wordnet.zip": wordnet_archive()}
    vectors, wordnet = (hashlib.sha256(body).hexdigest() for body in server.files.values())
    known = RESOURCES["counter-fitted-vectors"]
    found = CacheFiles(
        known.name,
        known.description,
        sha256={"paragramcf.zip": vectors},
        path=known.path,
        files=known.files,
        url=f"{server.url}/vectors",
    )
    monkeypatch.setitem(RESOURCES, known.name, found)
    found = NltkData(
        "wordnet", "WordNet", sha256={"wordnet.zip": wordnet}, packages=("corpora/wordnet",), url=server.url
    )
    monkeypatch.setitem(RESOURCES, "wordnet", found)
    monkeypatch.setattr(download, "CHUNK", 500)
    return server


def fetching(count: int) -> list[multiprocessing.Process]:
    """Processes that begin to fetch at the same time."""
    context = multiprocessing.get_context("fork")
    together = context.Barrier(count)

    def fetch() -> None:
        together.wait()
        ensure_resources(["counter-fitted-vectors", "wordnet"])

    processes = [context.Process(target=fetch) for _ in range(count)]
    for process in processes:
        process.start()
    return processes


def test_processes_that_need_one_resource_fetch_it_once(two_resources, cache, tmp_path):
    two_resources.pause = 0.002
    for process in fetching(4):
        process.join(60)
        assert process.exitcode == 0
    assert len(two_resources.asked) == 2
    made = tmp_path / "made" / VECTORS_FOLDER
    for name in VECTORS_FILES:
        assert (cache / VECTORS_FOLDER / name).read_bytes() == (made / name).read_bytes()
    assert (tmp_path / "nltk/corpora/wordnet/data.noun").read_text() == "dog" * 30_000
    left = {path.name for folder in (cache, tmp_path / "nltk") for path in (folder / ".locks").iterdir()}
    assert left == {"counter-fitted-vectors.lock", "wordnet.lock"}
    assert not (tmp_path / "nltk/corpora/elsewhere").exists() and not list(tmp_path.rglob("up"))


def test_what_a_killed_process_left_is_taken_up_or_removed(two_resources, cache, tmp_path):
    two_resources.pause = 0.03
    (first,) = fetching(1)
    part = tmp_path / "nltk/.locks/wordnet.zip.part"
    while first.is_alive() and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    first.kill()
    first.join()
    (tmp_path / "nltk/.locks/.robust-tickets-wordnet-abc").mkdir()
    two_resources.pause = 0.0
    (second,) = fetching(1)
    second.join(60)
    assert second.exitcode == 0
    assert two_resources.asked[:2] == [None, None] and two_resources.asked[2].startswith("bytes=")
    assert RESOURCES["wordnet"].missing() is None
    assert [path.name for path in (tmp_path / "nltk/.locks").iterdir()] == ["wordnet.lock"]


def test_an_archive_that_unpacks_to_too_much_or_is_another_is_refused(vectors_on, cache, monkeypatch):
    with monkeypatch.context() as changed, pytest.raises(MissingResourceError, match="expected at most 100 bytes"):
        changed.setattr(base, "_LARGEST_ARCHIVE", 100)
        fetch_resource("counter-fitted-vectors")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("another/file", "x")
    vectors_on.files["/vectors"], vectors_on.etag = packed.getvalue(), '"2"'
    with pytest.raises(MissingResourceError, match="expected a folder paragramcf in"):
        fetch_resource("counter-fitted-vectors")


def test_every_resource_with_a_fixed_content_has_its_checksum():
    """Those of TextAttack's server and of TensorFlow Hub are not known to us; Unicode's list changes."""
    unknown = {"counter-fitted-vectors", "google-lm", "l2w-lm", "hownet", "homoglyphs", "flair"}
    unknown |= {"universal-sentence-encoder", "stsb-distilbert-base"}
    assert {name for name, resource in RESOURCES.items() if not resource.sha256} == unknown
    for resource in RESOURCES.values():
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in resource.sha256.values())


def test_from_a_folder_without_a_network(cache, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    handed = tmp_path / "handed"
    (handed / "textattack_cache").mkdir(parents=True)
    write_vectors(handed / "textattack_cache")
    for name in ("taggers/averaged_perceptron_tagger_eng", "taggers/universal_tagset"):
        (handed / "nltk_data" / name).mkdir(parents=True)
        (handed / "nltk_data" / name / "some").write_text("data")
    model, tokenizer = masked_lm(tmp_path)
    model.save_pretrained(handed / "models/distilroberta-base")
    tokenizer.save_pretrained(handed / "models/distilroberta-base")
    names = ["counter-fitted-vectors", "pos-tagger", "distilroberta-base"]
    assert main(["resources", "check", *names]) == 1
    missing = capsys.readouterr()
    assert (
        "run `robust-tickets resources fetch pos-tagger" in missing.out
        and "miss counter-fitted-vectors, pos-tagger" in missing.err
    )
    assert main(["resources", "fetch", *names]) == 1 and "HF_HUB_OFFLINE" in capsys.readouterr().err
    for path in handed.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert main(["resources", "fetch", *names, "--from", str(handed)]) == 0
    capsys.readouterr()
    assert main(["resources", "check", *names]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    files = [cache / VECTORS_FOLDER / name for name in VECTORS_FILES]
    lines = sorted(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
    of_vectors = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert said["counter-fitted-vectors"] == f"there, sha256 {of_vectors} (3 files)"
    assert said["pos-tagger"].startswith("there, sha256 ") and said["pos-tagger"].endswith("(2 files)")
    assert said["distilroberta-base"].startswith("there, sha256 ")
    assert main(["resources", "fetch", "wordnet", "--from", str(handed)]) == 1
    assert "expected corpora/wordnet in" in capsys.readouterr().err
    shutil.rmtree(cache)
    assert main(["resources", "check", "--recipes", "iga", "fudan-bertattack"]) == 1
    for path in handed.rglob("*"):
        path.chmod(0o755)


def test_a_wrong_file_in_the_folder_is_refused(cache, tmp_path):
    model, _ = masked_lm(tmp_path)
    model.save_pretrained(tmp_path / "handed/bert-base-uncased")
    (tmp_path / "handed/bert-base-uncased/vocab.txt").write_text("another")
    with pytest.raises(MissingResourceError, match="to have the sha256 07eced375cec"):
        install_resource("bert-base-uncased", tmp_path / "handed")
    with pytest.raises(MissingResourceError, match="expected a folder"):
        install_resource("bert-base-uncased", tmp_path / "nowhere")
    assert RESOURCES["bert-base-uncased"].missing() is not None


def test_list_names_everything_and_wrong_calls_are_refused(cache, capsys):
    assert main(["resources", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in RESOURCES) and "Apache-2.0" in listed and "07eced375cec" in listed
    assert main(["resources", "lists"]) == 2 and "expected an action among" in capsys.readouterr().err
    assert main(["resources", "list", "word-net"]) == 2 and "expected a resource among" in capsys.readouterr().err
    assert main(["resources", "list", "--from", "x"]) == 2 and "with `fetch` only" in capsys.readouterr().err


def test_half_an_nltk_archive_is_not_there(cache, tmp_path):
    (tmp_path / "nltk/corpora").mkdir(parents=True)
    for name in ("wordnet", "omw-1.4"):
        (tmp_path / f"nltk/corpora/{name}.zip").write_bytes(b"PK\x03\x04 half")
    assert "corpora/wordnet" in RESOURCES["wordnet"].missing()
