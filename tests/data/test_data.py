"""The data room: reading, verifying, fetching and splitting. The IDX files are made here, byte by
byte."""

import contextlib
import gzip
import hashlib
import http.server
import json
import os
import struct
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from leastcontrol import data
from leastcontrol.data import _dataset, _digits, _download, _idx

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
TRAIN, TEST, SIDE, CLASSES = 24, 6, 2, 3


def idx(array, magic=None):
    header = struct.pack(">I", 0x0800 + array.ndim if magic is None else magic)
    return (
        header
        + b"".join(struct.pack(">I", length) for length in array.shape)
        + array.astype(np.uint8).tobytes()
    )


def images(count):
    return np.arange(count * SIDE * SIDE).reshape(count, SIDE, SIDE) % 256


def labels(count):
    return np.arange(count) % CLASSES


CONTENT = dict(
    zip(NAMES, map(idx, (images(TRAIN), labels(TRAIN), images(TEST), labels(TEST))), strict=True)
)


def make_source(mirrors=(), contents=CONTENT, **options):
    files = [data.IdxFile(name, hashlib.sha256(contents[name]).hexdigest()) for name in NAMES]
    return data.IdxSource(
        "small", CLASSES, (SIDE, SIDE), "https://example.org", "CC0", *files, mirrors, **options
    )


def write(folder, contents=CONTENT, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
    return folder


def fails(function, *expected):
    """Call a function that must raise DataError; every expected piece must be in its one
    sentence."""
    with pytest.raises(data.DataError) as caught:
        function()
    message = str(caught.value)
    assert "\n" not in message
    for piece in expected:
        assert piece in message
    return message


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No test sees this machine's data folders, or goes through its proxy."""
    for variable in ("LEASTCONTROL_DATA", "LEASTCONTROL_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("no_proxy", "*")


class TestIdx:
    @pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
    @pytest.mark.parametrize("array", [images(5), labels(7)], ids=["images", "labels"])
    def test_round_trip(self, tmp_path, array, pack):
        path = tmp_path / "file"
        path.write_bytes(pack(idx(array)))
        read = data.read_idx(path, axes=array.ndim)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, array)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "empty"),
            (gzip.compress(b"", mtime=0), "empty"),
            (idx(images(2))[:-1], "truncated at 23 bytes; expected 24"),
            (idx(images(2))[:9], "truncated at 9 bytes; expected a header of 16"),
            (idx(images(2)) + b"x", "too long with 25 bytes; expected 24"),
            (gzip.compress(idx(images(2)), mtime=0)[:-12], "gzip file is truncated"),
            (gzip.compress(idx(images(2)), mtime=0)[:-8] + b"\0" * 8, "gzip file is damaged"),
            (gzip.compress(idx(images(2)), mtime=0)[:10] + b"\xff" * 30, "gzip file is damaged"),
            (idx(labels(2)), "0x00000801; expected the magic number 0x00000803"),
            (idx(images(2), magic=0x03080000), "0x03080000; expected the magic number 0x00000803"),
            (b"PNG", "0x504e47; expected the magic number"),
        ],
    )
    def test_bad_file(self, tmp_path, content, expected):
        path = tmp_path / "file"
        path.write_bytes(content)
        fails(lambda: data.read_idx(path, axes=3), str(path), expected)

    def test_missing_file(self, tmp_path):
        fails(
            lambda: data.read_idx(tmp_path / "none", axes=3), "none", "cannot be read (No such file"
        )

    def test_a_bomb_is_refused_before_it_fills_the_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_idx, "LIMIT", 100)
        path = tmp_path / "file"
        path.write_bytes(gzip.compress(idx(np.zeros((100, 1, 1)))))
        fails(lambda: data.read_idx(path, axes=3), "more than 100 bytes")


class TestFolders:
    @pytest.mark.parametrize("packed", [True, False])
    @pytest.mark.parametrize("subfolder", ["", "small"])
    @pytest.mark.parametrize("by_variable", [True, False])
    def test_named_folder(self, tmp_path, monkeypatch, packed, subfolder, by_variable):
        write(tmp_path / subfolder, packed=packed)
        if by_variable:
            monkeypatch.setenv("LEASTCONTROL_DATA", str(tmp_path))
        splits = data.load(make_source(), data_dir=None if by_variable else tmp_path)
        assert splits.test.inputs.dtype == np.float32
        assert splits.test.targets.dtype == np.int32
        np.testing.assert_array_equal(
            splits.test.inputs, (images(TEST).reshape(TEST, -1) / 255).astype(np.float32)
        )
        np.testing.assert_array_equal(splits.test.targets, labels(TEST))
        assert splits.test.provenance.origin == str(tmp_path / subfolder)

    def test_inputs_belong_to_their_targets_after_the_split(self, tmp_path):
        splits = data.load(make_source(), data_dir=write(tmp_path))
        seen = []
        for part in (splits.train, splits.validation):
            # The first pixel of image i is 4 i, and its label is i modulo 3.
            index = np.round(part.inputs[:, 0] * 255 / 4).astype(int)
            np.testing.assert_array_equal(part.targets, index % CLASSES)
            seen += index.tolist()
        assert sorted(seen) == list(range(TRAIN))

    def test_data_dir_wins_over_the_variable(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LEASTCONTROL_DATA", str(tmp_path / "none"))
        data.load(make_source(), data_dir=write(tmp_path / "here"))

    def test_package_folder(self, tmp_path):
        folder = write(tmp_path / "package")
        source = make_source(system_folders=(str(tmp_path / "none"), str(folder)))
        assert data.load(source).train.provenance.origin == str(folder)

    def test_fashion_mnist_knows_the_folder_of_the_package(self):
        assert "/usr/share/datasets/fashion-mnist" in data.FASHION_MNIST.system_folders

    @pytest.mark.parametrize("by_variable", [True, False])
    def test_a_named_folder_is_not_replaced_by_another_place(
        self, tmp_path, monkeypatch, by_variable
    ):
        source = make_source(system_folders=(str(write(tmp_path / "package")),))
        write(tmp_path / "cache" / "small")
        empty = tmp_path / "empty"
        empty.mkdir()
        for folder, expected in (
            (empty, "neither it nor its subfolder small"),
            (tmp_path / "none", "no such folder"),
        ):
            if by_variable:
                monkeypatch.setenv("LEASTCONTROL_DATA", str(folder))
            given = "LEASTCONTROL_DATA=" if by_variable else "data_dir="
            fails(
                lambda folder=folder: data.load(
                    source, data_dir=None if by_variable else folder, cache_dir=tmp_path / "cache"
                ),
                given + str(folder),
                expected,
            )

    @pytest.mark.parametrize("name", NAMES)
    def test_missing_file(self, tmp_path, name):
        write(tmp_path)
        (tmp_path / f"{name}.gz").unlink()
        fails(lambda: data.load(make_source(), data_dir=tmp_path), name, "is missing", "add it")

    @pytest.mark.parametrize(
        ("replaced", "expected"),
        [
            ({NAMES[1]: b""}, (NAMES[1], "empty")),
            ({NAMES[0]: idx(images(TRAIN))[:-3]}, (NAMES[0], "truncated")),
            ({NAMES[0]: idx(images(TRAIN), magic=7)}, (NAMES[0], "magic")),
            ({NAMES[0]: idx(images(TRAIN - 1))}, (NAMES[0], NAMES[1], "23 inputs but 24 targets")),
            (
                {NAMES[3]: idx(labels(TEST) + 1)},
                (NAMES[3], "labels run from 1 to 3; expected 0 to 2"),
            ),
            (
                {NAMES[2]: idx(images(TEST).reshape(TEST, 4, 1)[:, :3])},
                (NAMES[2], "shape (3,); expected 4 features"),
            ),
            ({NAMES[0]: idx(images(0)), NAMES[1]: idx(labels(0))}, (NAMES[0], "no sample")),
            (
                {NAMES[0]: idx(images(TRAIN) ^ 1)},
                (NAMES[0], "SHA-256", "expected", "name another folder"),
            ),
            ({NAMES[3]: idx(labels(TEST)[::-1])}, (NAMES[3], "SHA-256")),
        ],
    )
    def test_bad_content(self, tmp_path, replaced, expected):
        fails(
            lambda: data.load(make_source(), data_dir=write(tmp_path, CONTENT | replaced)),
            str(tmp_path),
            *expected,
        )

    def test_a_checksum_is_of_the_unpacked_content(self, tmp_path):
        write(tmp_path)
        for name, content in CONTENT.items():
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=0, mtime=1))
        data.load(make_source(), data_dir=tmp_path)


class Mirror:
    """An HTTP server on this machine: what it serves by file name, how it breaks, and what it was
    asked."""

    def __init__(self):
        self.files = {
            f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENT.items()
        }
        self.asked = []
        self.break_first = 0
        self.breakage = "status"
        self.release = threading.Event()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.lstrip("/")
                mirror.asked.append(name)
                content = mirror.files.get(name)
                broken = len(mirror.asked) <= mirror.break_first
                if content is None or (broken and mirror.breakage == "status"):
                    self.send_error(404 if content is None else 503)
                    return
                if broken and mirror.breakage == "silence":
                    mirror.release.wait()
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if broken else content)

            def log_message(self, format, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.thread.start()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirror():
    with contextlib.closing(Mirror()) as served:
        yield served


def everything(folder):
    return (
        sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    )


QUICK = data.DownloadPolicy(attempts=3, timeout=0.5, backoff=0.0)


class TestDownload:
    def test_downloads_once(self, tmp_path, mirror):
        source = make_source((mirror.url,), policy=QUICK)
        splits = data.load(source, cache_dir=tmp_path)
        assert sorted(mirror.asked) == sorted(mirror.files)
        assert everything(tmp_path) == sorted(mirror.files)
        for name, content in mirror.files.items():
            assert (tmp_path / "small" / name).read_bytes() == content
        assert splits.train.provenance.origin == str(tmp_path / "small")
        data.load(source, cache_dir=tmp_path)
        assert len(mirror.asked) == 4

    def test_only_missing_files_are_fetched(self, tmp_path, mirror):
        write(tmp_path / "small", {NAMES[0]: CONTENT[NAMES[0]]})
        data.load(make_source((mirror.url,), policy=QUICK), cache_dir=tmp_path)
        assert sorted(mirror.asked) == sorted(f"{name}.gz" for name in NAMES[1:])

    @pytest.mark.parametrize("variable", ["LEASTCONTROL_CACHE", "XDG_CACHE_HOME", "HOME"])
    def test_cache_folder_by_variable(self, tmp_path, monkeypatch, mirror, variable):
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.setenv(variable, str(tmp_path))
        data.load(make_source((mirror.url,), policy=QUICK))
        inside = {
            "LEASTCONTROL_CACHE": "",
            "XDG_CACHE_HOME": "leastcontrol",
            "HOME": ".cache/leastcontrol",
        }[variable]
        assert everything(tmp_path / inside / "small") == sorted(mirror.files)

    @pytest.mark.parametrize("breakage", ["status", "half", "silence"])
    def test_retries(self, tmp_path, mirror, breakage):
        mirror.break_first, mirror.breakage = 2, breakage
        data.load(make_source((mirror.url,), policy=QUICK), cache_dir=tmp_path)
        assert mirror.asked[:4] == [f"{NAMES[0]}.gz"] * 3 + [f"{NAMES[1]}.gz"]

    @pytest.mark.parametrize(
        ("breakage", "reason"),
        [("status", "503"), ("half", "the connection broke"), ("silence", "no answer in time")],
    )
    def test_a_download_that_keeps_breaking_leaves_nothing(
        self, tmp_path, mirror, breakage, reason
    ):
        mirror.break_first, mirror.breakage = 100, breakage
        started = time.monotonic()
        source = make_source((mirror.url,), policy=QUICK)
        fails(
            lambda: data.load(source, cache_dir=tmp_path),
            f"cannot download {NAMES[0]}.gz of small",
            mirror.url,
            "3 attempts",
            reason,
            "data_dir",
        )
        # Three attempts of half a second each.
        assert time.monotonic() - started < 8
        assert len(mirror.asked) == 3
        assert everything(tmp_path) == []

    def test_backs_off_exponentially(self, tmp_path, monkeypatch, mirror):
        waits = []
        monkeypatch.setattr(_download.time, "sleep", waits.append)
        mirror.files = {}
        source = make_source(
            (mirror.url,), policy=data.DownloadPolicy(attempts=4, timeout=5.0, backoff=0.5)
        )
        fails(lambda: data.load(source, cache_dir=tmp_path), "404")
        assert waits == [0.5, 1.0, 2.0]

    def test_progress_is_reported_where_it_is_asked_for(self, tmp_path, mirror):
        name = f"{NAMES[0]}.gz"
        large = gzip.compress(CONTENT[NAMES[0]], compresslevel=0, mtime=0) + bytes(2 * 10**5)
        mirror.files[name] = large
        seen = []
        with data.downloads_shown(lambda *words: seen.append(words)):
            content = _download.download([mirror.url + name], QUICK, len)
        assert content == large
        assert {(named, total) for named, _, total in seen} == {(name, len(large))}
        there = [count for _, count, _ in seen]
        assert there == sorted(there)
        assert len(set(there)) >= 3
        assert there[-1] == len(large)
        _download.download([mirror.url + name], QUICK, len)
        assert len(there) == len(seen)

    def test_a_file_beyond_all_known_sizes_is_refused(self, tmp_path, monkeypatch, mirror):
        monkeypatch.setattr(_download, "LIMIT", 20)
        fails(
            lambda: _download.download([f"{mirror.url}{NAMES[0]}.gz"], QUICK, len),
            "more than 20 bytes",
        )

    def test_second_mirror(self, tmp_path, mirror):
        # Nothing listens on port 1.
        dead = "http://127.0.0.1:1/"
        data.load(make_source((dead, mirror.url), policy=QUICK), cache_dir=tmp_path)
        assert everything(tmp_path) == sorted(mirror.files)
        mirror.files = {}
        fails(
            lambda: data.load(
                make_source((dead, mirror.url), policy=QUICK), cache_dir=tmp_path / "b"
            ),
            f"{dead}{NAMES[0]}.gz: no connection;",
            "404",
        )

    @pytest.mark.parametrize(
        ("served", "reason"),
        [
            (gzip.compress(idx(images(TRAIN) ^ 1), mtime=0), "SHA-256"),
            (b"<html>sign in to this network</html>", "SHA-256"),
            (b"", "empty"),
            (gzip.compress(CONTENT[NAMES[0]], mtime=0)[:-9], "truncated"),
        ],
    )
    def test_a_mirror_that_serves_something_else(self, tmp_path, mirror, served, reason):
        mirror.files[f"{NAMES[0]}.gz"] = served
        source = make_source((mirror.url,), policy=QUICK)
        fails(lambda: data.load(source, cache_dir=tmp_path), NAMES[0], reason)
        assert everything(tmp_path) == []

    def test_a_write_that_breaks_leaves_nothing(self, tmp_path, monkeypatch, mirror):
        def full(path, content):
            with path.open("wb") as file:
                file.write(content[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        source = make_source((mirror.url,), policy=QUICK)
        fails(
            lambda: data.load(source, cache_dir=tmp_path),
            "cannot write",
            "No space left",
            "LEASTCONTROL_CACHE",
        )
        assert everything(tmp_path) == []

    def test_an_interrupted_write_leaves_nothing(self, tmp_path, monkeypatch):
        def interrupt(partial, path):
            assert partial.read_bytes() == b"content"
            raise KeyboardInterrupt

        monkeypatch.setattr(_download.os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _download.write_whole(tmp_path / "file", b"content")
        assert everything(tmp_path) == []

    def test_unusable_cache_folder(self, tmp_path, mirror):
        blocked = tmp_path / "file"
        blocked.write_bytes(b"")
        source = make_source((mirror.url,), policy=QUICK)
        fails(
            lambda: data.load(source, cache_dir=blocked), "cannot write", str(blocked), "cache_dir"
        )

    def test_a_damaged_cache_is_reported(self, tmp_path):
        write(tmp_path / "small", CONTENT | {NAMES[0]: idx(images(TRAIN) ^ 1)})
        fails(
            lambda: data.load(make_source(), cache_dir=tmp_path), NAMES[0], "SHA-256", "remove it"
        )

    @pytest.mark.parametrize(
        "options",
        [
            {"attempts": 0},
            {"timeout": 0.0},
            {"timeout": float("nan")},
            {"backoff": -1.0},
            {"backoff": float("inf")},
        ],
    )
    def test_policy_out_of_range(self, options):
        ((name, value),) = options.items()
        fails(lambda: data.DownloadPolicy(**options), f"{name}={value}", "expected")

    @pytest.mark.parametrize(
        "source", [data.MNIST, data.FASHION_MNIST], ids=lambda source: source.name
    )
    def test_published_sources(self, source):
        assert all(url.endswith("/") for url in source.mirrors)
        assert source.mirrors[0].startswith("https://")
        assert tuple(file.name for file in source._files) == NAMES


class TestSplits:
    @pytest.mark.parametrize("seed", [0, 1, 2**70])
    def test_disjoint_and_covering(self, seed):
        parts = data.split_indices(100, (20, 70, 10), seed=seed)
        assert [len(part) for part in parts] == [20, 70, 10]
        assert sorted(np.concatenate(parts)) == list(range(100))
        for part in parts:
            assert (np.diff(part) > 0).all()

    def test_a_seed_means_the_same_everywhere(self):
        # PCG64 seeded with 0 gives a30f..., 4510..., 0a7d..., 043b..., d032..., e9aa..., 9b4c...,
        # bac0..., 8b2b..., ef60...: the four smallest are those at 3, 2, 1 and 8.
        first, second = data.split_indices(10, (4, 6), seed=0)
        assert first.tolist() == [1, 2, 3, 8]
        assert second.tolist() == [0, 4, 5, 6, 7, 9]

    def test_seeds_differ(self):
        one, two = (data.split_indices(100, (50, 50), seed=seed)[0] for seed in (0, 1))
        assert one.tolist() != two.tolist()

    @pytest.mark.parametrize("sizes", [(5, 4), (5, 6), (10, 0), (11, -1)])
    def test_sizes_that_do_not_fit(self, sizes):
        fails(
            lambda: data.split_indices(10, sizes, seed=0), "cannot split 10 samples", "add up to 10"
        )

    def test_bad_seed(self):
        fails(lambda: data.split_indices(10, (5, 5), seed=-1), "seed=-1", "at least 0")
        for seed in (0.5, float("nan"), None, "0"):
            fails(lambda seed=seed: _dataset.checked_seed(seed), repr(seed), "whole number")

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
    def test_fraction_out_of_range(self, fraction):
        fails(
            lambda: data.load("digits", validation_fraction=fraction),
            f"validation_fraction={fraction}",
            "above 0",
        )

    @pytest.mark.parametrize(("fraction", "size"), [(1e-5, 0), (1 - 1e-5, 1438)])
    def test_fraction_that_leaves_a_part_empty(self, fraction, size):
        fails(
            lambda: data.load("digits", validation_fraction=fraction),
            f"of 1438 samples is {size}",
            "at most 1437",
        )

    def test_wrong_options_cost_no_reading(self, tmp_path):
        nowhere = tmp_path / "none"
        for options in ({"validation_fraction": 2.0}, {"split_seed": -1}):
            fails(
                lambda options=options: data.load("mnist", data_dir=nowhere, **options),
                *map(str, options.values()),
            )

    def test_official_test_set_is_left_alone(self, tmp_path):
        write(tmp_path)
        for seed in (0, 1):
            splits = data.load(
                make_source(), data_dir=tmp_path, split_seed=seed, validation_fraction=0.25
            )
            assert [len(part) for part in splits.parts().values()] == [18, 6, 6]
            np.testing.assert_array_equal(splits.test.targets, labels(TEST))

    def test_parts_of_different_data_sets(self, tmp_path):
        small = data.load(make_source(), data_dir=write(tmp_path))
        digits = data.load("digits")
        fails(
            lambda: data.Splits(small.train, small.validation, digits.test),
            "splits differ",
            "digits",
            "small",
        )


class TestDigits:
    def test_all_of_scikit_learns_digits(self):
        from sklearn.datasets import load_digits

        splits = data.load("digits")
        assert [len(part) for part in splits.parts().values()] == [1318, 120, 359]
        together = np.concatenate([part.inputs for part in splits.parts().values()])
        expected = load_digits().data / 16
        assert together.dtype == np.float32
        np.testing.assert_array_equal(
            np.unique(together, axis=0), np.unique(expected, axis=0).astype(np.float32)
        )
        assert splits.train.inputs.shape[1:] == (64,)
        assert splits.train.shape == (8, 8)

    def test_seed_and_validation_fraction(self):
        base, same = data.load("digits"), data.load("digits")
        np.testing.assert_array_equal(base.train.inputs, same.train.inputs)
        other = data.load("digits", split_seed=1)
        assert not np.array_equal(base.test.inputs, other.test.inputs)
        larger = data.load("digits", validation_fraction=0.5)
        assert len(larger.validation) == 719
        np.testing.assert_array_equal(base.test.inputs, larger.test.inputs)

    def test_a_folder_is_refused_and_the_variable_does_not_matter(self, tmp_path, monkeypatch):
        fails(
            lambda: data.load("digits", data_dir=tmp_path), f"data_dir={tmp_path}", "leave it out"
        )
        monkeypatch.setenv("LEASTCONTROL_DATA", str(tmp_path / "none"))
        data.load("digits")

    def test_without_scikit_learn(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        fails(lambda: data.load("digits"), "needs scikit-learn", "pip install scikit-learn")

    def test_changed_and_damaged_digits(self, monkeypatch, tmp_path):
        original = Path(find_spec("sklearn").submodule_search_locations[0])
        spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(_digits, "find_spec", lambda name: spec)
        path = tmp_path / "datasets" / "data" / "digits.csv.gz"
        path.parent.mkdir(parents=True)
        fails(lambda: data.load("digits"), str(path), "install scikit-learn again")
        lines = gzip.decompress((original / path.relative_to(tmp_path)).read_bytes()).splitlines()
        first = lines[0].split(b",")
        first[3] = b"7"
        path.write_bytes(gzip.compress(b"\n".join([b",".join(first), *lines[1:]])))
        fails(lambda: data.load("digits"), "SHA-256 of data in scikit-learn")
        path.write_bytes(b"no archive")
        fails(lambda: data.load("digits"), str(path), "install scikit-learn again")


class TestDataset:
    def make(self, **changes):
        return data.Dataset(
            **{
                "name": "made",
                "inputs": np.zeros((3, 4), np.float32),
                "targets": np.array([0, 1, 2], np.int32),
                "classes": 3,
                "shape": (2, 2),
                "provenance": data.Provenance("here", "CC0", "a test", {}),
            }
            | changes
        )

    def test_unflattened_inputs(self):
        assert self.make(inputs=np.zeros((3, 2, 2), np.float32)).inputs.shape == (3, 2, 2)

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"inputs": np.zeros((3, 4))}, "inputs are float64"),
            ({"targets": np.arange(3)}, "targets int64"),
            ({"targets": np.zeros((3, 1), np.int32)}, "shape (3, 1)"),
            ({"inputs": np.zeros((2, 4), np.float32)}, "2 inputs but 3 targets"),
            ({"inputs": np.zeros((), np.float32)}, "no inputs but 3 targets"),
            ({"inputs": np.zeros((3, 5), np.float32)}, "expected 4 features"),
            (
                {"inputs": np.zeros((0, 4), np.float32), "targets": np.zeros(0, np.int32)},
                "no sample",
            ),
            ({"targets": np.array([0, 1, 3], np.int32)}, "labels run from 0 to 3; expected 0 to 2"),
            ({"targets": np.array([-1, 1, 2], np.int32)}, "labels run from -1 to 2"),
            ({"inputs": np.full((3, 4), np.nan, np.float32)}, "NaN"),
            ({"inputs": np.full((3, 4), np.inf, np.float32)}, "infinite"),
        ],
    )
    def test_bad_arrays(self, changes, expected):
        fails(lambda: self.make(**changes), "made", expected)

    def test_take(self):
        part = self.make(inputs=np.arange(12, dtype=np.float32).reshape(3, 4)).take(
            np.array([2, 0])
        )
        assert part.inputs[:, 0].tolist() == [8, 0]
        assert part.targets.tolist() == [2, 0]

    def test_standardise(self, tmp_path):
        write(tmp_path)
        plain = data.load(make_source(), data_dir=tmp_path)
        scaled = data.load(
            make_source(), data_dir=tmp_path, preprocessing=data.MNIST_STANDARDISATION
        )
        for part, before in plain.parts().items():
            after = scaled.parts()[part]
            assert after.inputs.dtype == np.float32
            np.testing.assert_allclose(
                after.inputs, (before.inputs.astype(float) - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6
            )
            assert after.preprocessing == data.MNIST_STANDARDISATION
        fails(
            lambda: scaled.train.preprocessed(data.MNIST_STANDARDISATION), "preprocessed", "already"
        )

    @pytest.mark.parametrize(
        ("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (0.0, float("nan")), (float("inf"), 1.0)]
    )
    def test_standardise_out_of_range(self, mean, std):
        fails(lambda: data.Standardise(mean, std), "expected a finite number")


class TestNames:
    def test_names(self):
        assert data.names() == ("digits", "mnist", "fashion-mnist", "cifar10")

    @pytest.mark.parametrize(
        ("wrong", "nearest"),
        [
            ("mnst", "mnist"),
            ("MNIST", "mnist"),
            ("fashion_mnist", "fashion-mnist"),
            ("digit", "digits"),
        ],
    )
    def test_nearest_name(self, wrong, nearest):
        fails(
            lambda: data.load(wrong),
            repr(wrong),
            f"did you mean '{nearest}'?",
            "digits, mnist, fashion-mnist",
        )

    def test_no_near_name(self):
        assert "did you mean" not in fails(lambda: data.load("cats"), "'cats'", "expected one of")

    def test_own_source(self):
        class Two(data.AbstractSource):
            name = "two"

            def read(self, data_dir, cache_dir):
                dataset = data.Dataset(
                    name="two",
                    inputs=np.linspace(0, 1, 20, dtype=np.float32)[:, None],
                    targets=np.arange(20, dtype=np.int32) % 2,
                    classes=2,
                    shape=(1,),
                    provenance=data.Provenance("here", "CC0", "a test", {}),
                )
                return data.Pool(dataset, None)

        assert [len(part) for part in data.load(Two()).parts().values()] == [15, 1, 4]


def test_describe(tmp_path):
    write(tmp_path)
    facts = data.describe(
        data.load(make_source(), data_dir=tmp_path, preprocessing=data.Standardise(0.0, 0.5))
    )
    assert json.loads(json.dumps(facts)) == facts
    assert facts["name"] == "small"
    assert facts["classes"] == 3
    assert facts["shape"] == [2, 2]
    assert facts["licence"] == "CC0"
    assert facts["source"] == "https://example.org"
    assert facts["origin"] == str(tmp_path)
    assert facts["checksums"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()
    }
    assert facts["preprocessing"] == {"mean": 0.0, "std": 0.5}
    # Six images of 4 pixels count up from 0: the brightest is 23, labels 0, 1, 2 come twice.
    test = facts["splits"]["test"]
    assert (test["count"], test["per_class"], test["minimum"]) == (6, [2, 2, 2], 0.0)
    assert test["maximum"] == pytest.approx(23 / 255 / 0.5, rel=1e-6)
    sums = np.add(facts["splits"]["train"]["per_class"], facts["splits"]["validation"]["per_class"])
    assert sums.tolist() == [8, 8, 8]


def test_what_is_slow_or_rare_is_imported_where_it_is_used():
    late = "{'diffrax', 'scipy.sparse', 'sklearn', 'urllib.request'}"
    code = f"import sys, leastcontrol.data; print(sorted({late} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


REAL = Path(
    os.environ.get("LEASTCONTROL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)


@pytest.mark.slow
@pytest.mark.parametrize("source", [data.MNIST, data.FASHION_MNIST], ids=lambda source: source.name)
def test_published_files(source):
    if not any((REAL / source.name / f"{NAMES[2]}{end}").is_file() for end in ("", ".gz")):
        pytest.skip(f"{REAL} has no folder {source.name}; name one that has with LEASTCONTROL_DATA")
    splits = data.load(source, data_dir=REAL)
    assert [part.inputs.shape for part in splits.parts().values()] == [
        (55_000, 784),
        (5_000, 784),
        (10_000, 784),
    ]
    assert {part.inputs.max() for part in splits.parts().values()} == {1.0}
    learning = np.bincount(splits.train.targets) + np.bincount(splits.validation.targets)
    if source is data.MNIST:
        # The counts of each digit that the MNIST page's files are known for.
        assert learning.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert splits.train.inputs.mean() == pytest.approx(
            data.MNIST_STANDARDISATION.mean, abs=5e-4
        )
        assert splits.train.inputs.std() == pytest.approx(data.MNIST_STANDARDISATION.std, abs=5e-4)
    else:
        assert learning.tolist() == [6000] * 10
