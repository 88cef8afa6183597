"""Files that are no such file, larger than they look, or mean something else."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from leastcontrol import files
from leastcontrol.files.images import read_image

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        DEEP,
        "9" * 5000,
        '{"a": [' + "9" * 5000 + "]}",
        "1e400",
        "NaN",
        "-Infinity",
        "1" + 400 * "0",
    ],
    ids=["empty", "cut", "deep", "digits", "deep digits", "1e400", "nan", "infinity", "10**400"],
)
def test_json_that_is_none_is_one_sentence(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(files.FileError, match=r"a\.json cannot be read as JSON") as caught:
        files.read_json(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + DEEP, "a =", "a = 1_" + "0" * 500])
def test_toml_that_is_none_is_one_sentence(text):
    with pytest.raises(files.FileError, match=r"a\.toml cannot be read as TOML"):
        files.parse_toml(text, "a.toml")


def test_only_regular_files_are_read_and_nothing_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "is a pipe"),
        (tmp_path, "is a folder"),
        (tmp_path / ("x" * 300), "its name is too long"),
    ):
        with pytest.raises(files.FileError, match=said):
            files.read_bytes(path)
    with pytest.raises(files.FileError, match="device"):
        files.read_bytes(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        files.read_bytes(tmp_path / "nothing")


def test_the_size_is_looked_at_before_the_content(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        # A file with a hole, that takes no place and would take all memory.
        file.truncate(2**40)
    with pytest.raises(files.FileError, match="1099511627776 bytes, but at most 1073741824"):
        files.read_bytes(path)


def test_a_record_that_was_changed_is_refused(tmp_path):
    record = files.with_checksum({"alpha": 0.1, "sizes": (1, 2), "none": float("nan")})
    path = tmp_path / "a.json"
    files.write_json(path, record)
    assert files.read_record(path, required=True) == {"alpha": 0.1, "sizes": [1, 2], "none": None}
    files.write_json(path, record | {"alpha": 0.2})
    with pytest.raises(files.FileError, match="checksum does not fit"):
        files.read_record(path)
    del record["checksum"]
    files.write_json(path, record)
    assert files.read_record(path)["alpha"] == 0.1
    with pytest.raises(files.FileError, match="lost its checksum"):
        files.read_record(path, required=True)


# A gradient from black to white, and what every way of saving it may differ by.
GRADIENT = np.linspace(0, 1, 64).reshape(8, 8)


class TestImages:
    def saved(self, tmp_path, kind):
        from PIL import Image

        eight = np.round(255 * GRADIENT).astype(np.uint8)
        sixteen = np.round(65535 * GRADIENT).astype(np.uint16)
        path = tmp_path / f"{kind}.{'tif' if 'tiff' in kind else 'png'}"
        images = {
            "8 bits": lambda: Image.fromarray(eight),
            "16 bits": lambda: Image.fromarray(sixteen),
            "real tiff": lambda: Image.fromarray(GRADIENT.astype(np.float32)),
            "colours": lambda: Image.fromarray(np.stack([eight] * 3, axis=-1)),
            "opaque": lambda: Image.fromarray(np.stack([eight, np.full_like(eight, 255)], -1)),
        }
        images[kind]().save(path)
        return path

    @pytest.mark.parametrize("kind", ["8 bits", "16 bits", "real tiff", "colours", "opaque"])
    @pytest.mark.parametrize("colours", [False, True])
    def test_one_gradient_is_read_alike_however_it_is_saved(self, tmp_path, kind, colours):
        read = read_image(self.saved(tmp_path, kind), colours=colours)
        expected = np.repeat(GRADIENT[..., None], 3, -1) if colours else GRADIENT
        assert np.abs(read - expected).max() <= 1 / 255

    def test_what_has_no_one_meaning_is_refused(self, tmp_path):
        from PIL import Image

        eight = np.round(255 * GRADIENT).astype(np.uint8)
        Image.fromarray(np.stack([eight] * 2, -1)).save(tmp_path / "alpha.png")
        Image.fromarray(eight).save(
            tmp_path / "frames.gif", save_all=True, append_images=[Image.fromarray(255 - eight)]
        )
        Image.fromarray((300 * GRADIENT).astype(np.float32)).save(tmp_path / "real.tif")
        for name, said in (
            ("alpha.png", "transparent pixels"),
            ("frames.gif", "2 frames"),
            ("real.tif", "from 0 to 300"),
        ):
            with pytest.raises(files.FileError, match=said):
                read_image(tmp_path / name, colours=False)

    def test_a_large_image_is_refused_before_it_is_decoded(self, tmp_path):
        from PIL import Image

        path = tmp_path / "large.png"
        Image.new("1", (8000, 8000)).save(path)
        with pytest.raises(files.FileError, match="8000×8000 pixels, but at most"):
            read_image(path, colours=False)


def test_vectors_that_unpack_to_much_more_are_refused_before(tmp_path):
    from leastcontrol.verify.vector_files import VectorError, read_arrays

    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        content = io.BytesIO()
        np.save(content, np.zeros(2**24))
        archive.writestr("a.npy", content.getvalue())
    assert path.stat().st_size < 2**20
    with pytest.raises(VectorError, match="unpacks to"):
        read_arrays(path)


def test_an_archive_is_not_unpacked_before_its_checksum(tmp_path, monkeypatch):
    from leastcontrol import data

    monkeypatch.setattr(zipfile, "ZipFile", None)
    for name in ("images_background.zip", "images_evaluation.zip"):
        (tmp_path / name).write_bytes(b"PK" + bytes(100))
    with pytest.raises(data.DataError, match="the MD5 is"):
        data.OMNIGLOT.read(tmp_path)


def test_an_origin_that_is_none_is_refused(tmp_path):
    from leastcontrol.report import ReportError, read

    for fault in ({"command": {}}, {"versions": [1]}, {"commit": 3}):
        files.write_json(tmp_path / "config.json", {"seed": 0})
        (tmp_path / "summary.json").write_text(json.dumps(fault), encoding="utf-8")
        with pytest.raises(ReportError, match="has no valid command, commit or versions"):
            read([tmp_path])


@pytest.mark.parametrize(
    "options", [{"hidden": (4,) * 1001}, {"system": "residual", "hidden": (4,), "depth": 20_000}]
)
def test_a_network_of_very_many_layers_is_refused(options):
    from leastcontrol.runs.config import RunConfig
    from leastcontrol.runs.options import ConfigError

    with pytest.raises(ConfigError, match="1000"):
        RunConfig.of(**options).check()
