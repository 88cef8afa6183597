"""CIFAR-10: both published forms, the archive and its folder, and what is refused."""

import dataclasses
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

from leastcontrol import data

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
CIFAR_PIXELS = np.random.default_rng(4).integers(0, 256, (6, 3, 3 * 32 * 32)).astype(np.uint8)
CIFAR_LABELS = np.arange(18).reshape(6, 3) % 10


def old_pickle(pixels, labels):
    """Returns a batch as Python 2 and NumPy 1 pickled it, written out by hand."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    def long(content):
        return b"T" + len(content).to_bytes(4, "little") + content

    rows, columns = pixels.shape
    shape = b"K" + bytes([rows]) + b"M" + columns.to_bytes(2, "little") + b"\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85"
        + short(b"b")
        + b"\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\n"
        + short(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + short(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + long(pixels.tobytes())
        + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = short(b"data") + array + short(b"labels") + numbers
    return b"\x80\x02}(" + entries + short(b"batch_label") + short(b"one") + b"u."


def new_pickle(pixels, labels):
    return pickle.dumps({"data": pixels, "labels": labels.tolist()}, protocol=2)


def binary(pixels, labels):
    return np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()


CIFAR_FORMS = {"binary": (0, binary), "old": (1, old_pickle), "new": (1, new_pickle)}


def cifar_files(form):
    """Returns which form a source has, and the content of its files."""
    index, make = CIFAR_FORMS[form]
    suffix = data.CIFAR10.forms[index].suffix
    contents = [make(*pair) for pair in zip(CIFAR_PIXELS, CIFAR_LABELS, strict=True)]
    return index, {f"{n}{suffix}": content for n, content in zip(BATCHES, contents, strict=True)}


def cifar(forms=data.CIFAR10.forms):
    return dataclasses.replace(data.CIFAR10, forms=forms, count=3)


@pytest.mark.parametrize("form", CIFAR_FORMS)
@pytest.mark.parametrize("place", ["folder", "archive"])
def test_cifar_is_read_from_both_forms(form, place, tmp_path):
    index, contents = cifar_files(form)
    forms = list(data.CIFAR10.forms)
    if place == "folder":
        (tmp_path / forms[index].folder).mkdir()
        for name, content in contents.items():
            (tmp_path / forms[index].folder / name).write_bytes(content)
    else:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in contents.items():
                member = tarfile.TarInfo(f"{forms[index].folder}/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        (tmp_path / forms[index].archive).write_bytes(packed.getvalue())
        md5 = hashlib.md5(packed.getvalue()).hexdigest()
        forms[index] = dataclasses.replace(forms[index], md5=md5)
    learning, test = cifar(tuple(forms)).read(tmp_path, None)
    np.testing.assert_array_equal(learning.targets, CIFAR_LABELS[:5].reshape(-1))
    np.testing.assert_array_equal(test.inputs, np.float32(CIFAR_PIXELS[5] / 255))
    assert learning.as_images().inputs.shape == (15, 3, 32, 32)
    # Red, green and blue one after the other, each row by row.
    assert test.as_images().inputs[1, 2, 31, 30] == np.float32(CIFAR_PIXELS[5, 1, 3070] / 255)


class Bomb:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_that_asks_for_more_is_refused_and_not_run(tmp_path, capsys):
    _, contents = cifar_files("new")
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / BATCHES[2]).write_bytes(pickle.dumps({"data": Bomb()}, protocol=2))
    with pytest.raises(data.DataError, match=r"data_batch_3: .* asks for the name '.*print"):
        cifar().read(tmp_path, None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("form", "damage", "message"),
    [
        ("binary", lambda raw: raw[:-1], "has 9218 bytes; expected a multiple of 3073"),
        ("binary", lambda raw: raw[: 2 * 3073], "it holds 2 labels .*expected 3 images"),
        ("binary", lambda raw: b"", "has 0 bytes"),
        ("binary", lambda raw: b"\x0b" + raw[1:], "labels run from 0 to 11"),
        ("new", lambda raw: raw[:-100], "cannot be read as a pickled batch"),
        ("old", lambda raw: b"", "cannot be read as a pickled batch"),
        ("new", lambda raw: pickle.dumps([1], protocol=2), "a list where a dict is filled"),
        ("new", lambda raw: pickle.dumps({"labels": [1]}, protocol=2), "has the entries labels"),
        ("new", lambda raw: pickle.dumps({"data": 1.5}, protocol=2), "the instruction BINFLOAT"),
    ],
)
def test_damaged_batches_are_refused(form, damage, message, tmp_path):
    _, contents = cifar_files(form)
    for number, (name, content) in enumerate(contents.items()):
        (tmp_path / name).write_bytes(damage(content) if number == 0 else content)
    with pytest.raises(data.DataError, match=message):
        cifar().read(tmp_path, None)


def test_a_truncated_archive_and_a_missing_batch_are_refused(tmp_path):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(data.DataError, match=r"the MD5 is .*it is truncated"):
        cifar().read(tmp_path, None)
    (tmp_path / "cifar-10-binary.tar.gz").unlink()
    with pytest.raises(data.DataError, match=r"holds CIFAR-10; put cifar-10-binary\.tar\.gz or"):
        cifar().read(tmp_path, None)
    (tmp_path / "test_batch").write_bytes(b"")
    with pytest.raises(data.DataError, match=r"the batches data_batch_1, .* are missing"):
        cifar().read(tmp_path, None)


def test_channels_are_standardised_by_themselves():
    inputs = np.float32(CIFAR_PIXELS[0] / 255)
    made = data.CIFAR10_STANDARDISATION(inputs).reshape(3, 3, -1)
    for channel in range(3):
        mean = data.CIFAR10_STANDARDISATION.mean[channel]
        std = data.CIFAR10_STANDARDISATION.std[channel]
        expected = (inputs.reshape(3, 3, -1)[:, channel] - mean) / std
        np.testing.assert_allclose(made[:, channel], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(data.DataError, match="the 3 channels"):
        data.CIFAR10_STANDARDISATION(inputs[:, :64])
    with pytest.raises(data.DataError, match="equally many of both"):
        data.Standardise(mean=(0.1, 0.2), std=(1.0,))
