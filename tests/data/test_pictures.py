"""Pictures: built-in and from files, their split into pixels, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from leastcontrol import data


def test_built_in_pictures_are_the_same_every_time_and_differ():
    pictures = {}
    for name in data.picture_names():
        first, again = (data.read_picture(name, size=32) for _ in range(2))
        assert first.pixels.shape == (32, 32, 3)
        assert first.pixels.dtype == np.float32
        np.testing.assert_array_equal(first.pixels, again.pixels)
        assert first.pixels.std() > 0.05
        assert first.provenance.checksums
        for other in pictures.values():
            assert (other != first.pixels).mean() > 0.5
        pictures[name] = first.pixels
    assert len(pictures) == 8


def test_the_pixels_to_train_and_those_to_test_are_a_quarter_each(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "own.png")
    picture = data.read_picture(f"image:{tmp_path / 'own.png'}", size=8)
    # The middle square.
    square = np.float32(pixels[:, 2:10] / 255)
    np.testing.assert_array_equal(picture.pixels, square)
    seen = set()
    for offset in (0, 1):
        places, colours = picture.part(offset)
        assert places.shape == (16, 2)
        for place, colour in zip(places, colours, strict=True):
            row, column = (round(8 * float(coordinate)) for coordinate in place)
            assert row % 2 == column % 2 == offset
            np.testing.assert_array_equal(colour, square[row, column])
            seen.add((row, column))
    assert len(seen) == 32


def test_a_picture_is_brought_to_its_size_by_averages(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "own.png")
    picture = data.read_picture(f"image:{tmp_path / 'own.png'}", size=4)
    expected = pixels.reshape(4, 4, 4, 4, 3).mean((1, 3)) / 255
    # Rounded to bytes once along each axis.
    np.testing.assert_allclose(picture.pixels, expected, atol=1.01 / 255)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("natural-9", 32, "no picture is called 'natural-9': expected one of natural-1, .*image:"),
        ("natural-1", 7, "size=7: expected an even number of at least 4"),
        ("natural-1", 2, "size=2"),
        ("image:missing.png", 8, "missing.png: it cannot be read"),
        ("image:text.png", 8, "text.png cannot be read as an image"),
        ("image:cut.png", 8, "cut.png cannot be read as an image"),
        ("image:small.png", 8, "the image has 6×9 pixels, fewer than 8 of a side: .* size of 6"),
    ],
)
def test_what_is_no_picture_is_refused(name, size, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("text", encoding="utf-8")
    Image.fromarray(np.zeros((9, 6), np.uint8)).save(tmp_path / "small.png")
    whole = (tmp_path / "small.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-30])
    with pytest.raises(data.DataError, match=message):
        data.read_picture(name, size=size)
