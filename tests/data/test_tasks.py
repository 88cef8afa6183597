"""Tasks, and the images that they are drawn from."""

import hashlib
import io
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from leastcontrol import data
from leastcontrol.data import DataError

KEY = jax.random.key(7)


def distinct_images(classes=6, samples=5, side=4):
    """Every image says in two of its pixels which class and sample it is, and where is up."""
    images = np.zeros((classes, samples, side, side), np.uint8)
    images[..., 0, 0] = 10 * (1 + np.arange(classes))[:, None]
    images[..., 0, 1] = 10 * (1 + np.arange(samples))[None]
    return jnp.asarray(images)


def identified(image):
    """Returns the class, the sample and the quarter turns of one of these images."""
    image = np.rint(np.asarray(image) * 255).astype(int)
    for turns in range(4):
        back = np.rot90(image, -turns)
        if back[0, 0] and back[0, 1]:
            return int(back[0, 0]) // 10 - 1, int(back[0, 1]) // 10 - 1, turns
    raise AssertionError("an image that was not among those given")


class TestSinusoid:
    def test_both_sets_lie_on_one_sinusoid_in_the_papers_ranges(self):
        support, query = data.SinusoidTasks(10, 30).batch(KEY, 40)
        assert support.inputs.shape == (40, 10, 1)
        assert query.targets.shape == (40, 30, 1)
        x = np.concatenate([support.inputs, query.inputs], axis=1)[..., 0]
        y = np.concatenate([support.targets, query.targets], axis=1)[..., 0]
        assert -5 <= x.min() < -4.5
        assert 4.5 < x.max() <= 5
        for own_x, own_y in zip(x, y, strict=True):
            basis = np.stack([np.sin(own_x), np.cos(own_x)], axis=1)
            (a, b), *_ = np.linalg.lstsq(basis, own_y)
            np.testing.assert_allclose(basis @ [a, b], own_y, atol=1e-5)
            assert 0.1 <= np.hypot(a, b) <= 5
            # A sin(x − p) = A cos p sin x − A sin p cos x with p in [0, π].
            assert b <= 1e-6

    def test_the_key_decides(self):
        tasks = data.SinusoidTasks()
        first, again, other = (tasks.batch(k, 3) for k in (KEY, KEY, jax.random.key(8)))
        np.testing.assert_array_equal(first[0].targets, again[0].targets)
        assert not np.array_equal(first[0].targets, other[0].targets)

    def test_empty_sets_are_refused(self):
        with pytest.raises(DataError, match=r"shots=0: expected at least 1"):
            data.SinusoidTasks(0)


class TestImageTasks:
    @pytest.mark.parametrize("rotations", [False, True])
    def test_a_task_is_what_it_says(self, rotations):
        tasks = data.ImageTasks(distinct_images(), 4, 2, 3, rotations=rotations)
        assert tasks.classes == (24 if rotations else 6)
        batch = jax.tree.map(np.asarray, jax.jit(lambda key: tasks.batch(key, 30))(KEY))
        turned = set()
        for index in range(30):
            support, query = jax.tree.map(lambda leaf, index=index: leaf[index], batch)
            assert support.inputs.shape == (8, 4, 4)
            assert query.inputs.shape == (12, 4, 4)
            classes = {}
            for part in (support, query):
                for image, label in zip(part.inputs, part.targets, strict=True):
                    kind, sample, turns = identified(image)
                    turned.add(turns)
                    classes.setdefault(int(label), []).append((kind, turns, sample))
            assert sorted(classes) == [0, 1, 2, 3]
            for members in classes.values():
                # One class, and no image twice: none of the query set was learned from.
                assert len({each[:2] for each in members}) == 1
                assert len({each[2] for each in members}) == 5
            assert len({members[0][:2] for members in classes.values()}) == 4
        assert turned == ({0, 1, 2, 3} if rotations else {0})

    def test_what_does_not_fit_is_refused(self):
        images = distinct_images()
        with pytest.raises(DataError, match=r"ways=7: there are 6 classes; .* write ways=5"):
            data.ImageTasks(images, 7, 1, 1, rotations=False)
        with pytest.raises(DataError, match=r"ways=25: there are 6 classes, 24 with"):
            data.ImageTasks(images, 25, 1, 1)
        with pytest.raises(DataError, match=r"more than the 5 images of a class"):
            data.ImageTasks(images, 2, 3, 3)
        with pytest.raises(DataError, match=r"ways=0: expected at least 1"):
            data.ImageTasks(images, 0, 1, 1)
        with pytest.raises(DataError, match=r"the images are 4×3; .* rotations=False"):
            data.ImageTasks(images[..., :3], 2, 1, 1)


class TestCharacters:
    def test_the_parts_share_no_class(self):
        images = np.arange(20, dtype=np.uint8)[:, None, None, None]
        provenance = data.Provenance("here", "none", "a test", {})
        characters = data.Characters(images, tuple(map(str, range(20))), provenance)
        parts = characters.split(seed=3)
        assert [len(part.images) for part in parts] == [12, 2, 6]
        together = [label for part in parts for label in part.labels]
        assert sorted(together, key=int) == [str(number) for number in range(20)]
        for part in parts:
            assert [str(number) for number in part.images.ravel()] == list(part.labels)
        assert characters.split(seed=4)[0].labels != parts[0].labels
        with pytest.raises(DataError, match=r"cannot be split into three parts"):
            parts[1].split()
        with pytest.raises(DataError, match=r"one label for each class"):
            data.Characters(images, ("a",), provenance)
        with pytest.raises(DataError, match=r"expected uint8 of shape"):
            data.Characters(images.astype(np.float32), ("a",) * 20, provenance)

    def test_shrunk_images_are_means_of_squares(self):
        images = np.random.default_rng(0).integers(0, 255, (2, 3, 6, 6), dtype=np.uint8)
        provenance = data.Provenance("here", "none", "a test", {})
        characters = data.Characters(images, ("a", "b"), provenance)
        small = characters.shrunk(3)
        assert small.images.shape == (2, 3, 3, 3)
        assert small.labels == ("a", "b")
        for row in range(3):
            for column in range(3):
                square = images[1, 2, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                assert abs(small.images[1, 2, row, column] - square.astype(float).mean()) <= 0.5
        np.testing.assert_array_equal(characters.shrunk(6).images, images)
        for side in (4, 0, 12):
            with pytest.raises(DataError, match=r"expected one of 1, 2, 3, 6: write \d\."):
                characters.shrunk(side)


class TestGlyphs:
    def test_letters_are_drawn_the_same_again_and_all_differently(self):
        few, more = data.read_glyphs(3), data.read_glyphs(5)
        assert more.labels == ("A", "B", "C", "D", "E")
        assert more.images.shape == (5, 24, 28, 28)
        np.testing.assert_array_equal(few.images, more.images[:3])
        flat = more.images.reshape(5 * 24, -1)
        assert len(np.unique(flat, axis=0)) == len(flat)
        # Ink on empty ground that no letter leaves.
        assert more.images.max(axis=(2, 3)).min() == 255
        share = (more.images > 127).mean(axis=(2, 3))
        assert 0.02 < share.min()
        assert share.max() < 0.5
        # The same letter in two styles is nearer than another letter, on average.
        regular = more.images[:, ::2].astype(float) / 255
        same = np.mean([(a[0] - a[4]) ** 2 for a in regular])
        other = np.mean([(a[0] - b[0]) ** 2 for a in regular for b in regular if a is not b])
        assert same < other

    @pytest.mark.slow
    def test_there_are_more_than_a_thousand_letters(self):
        glyphs = data.read_glyphs()
        assert len(glyphs.labels) > 1000
        # Latin A, Greek Alpha and Cyrillic A are one.
        assert "Α" not in glyphs.labels
        assert "А" not in glyphs.labels
        assert glyphs.images.max(axis=(2, 3)).min() > 127

    def test_a_limit_below_one_is_refused(self):
        with pytest.raises(DataError, match=r"limit=0: expected at least 1"):
            data.read_glyphs(0)


def archive(alphabet, characters=2, drawers=3, size=(105, 105)):
    """Returns an archive of the original form; each drawing is black in a block of its own."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(f"images/{alphabet}/", "")
        for character in range(1, characters + 1):
            for drawer in range(1, drawers + 1):
                pixels = np.full(size, 255, np.uint8)
                pixels[: 15 * character, : 15 * drawer] = 0
                image = io.BytesIO()
                Image.fromarray(pixels).convert("1").save(image, "PNG")
                name = f"images/{alphabet}/character{character:02}/0001_{drawer:02}.png"
                file.writestr(name, image.getvalue())
    return content.getvalue()


def source(**contents):
    return data.OmniglotSource(
        tuple(
            data.OmniglotPart(name, hashlib.md5(content).hexdigest(), "", characters=2)
            for name, content in contents.items()
        ),
        mirrors=(),
        policy=data.DownloadPolicy(attempts=1),
    )


def written(folder, **contents):
    for name, content in contents.items():
        (folder / f"{name}.zip").write_bytes(content)
    return folder


class TestOmniglot:
    def test_both_archives_are_read(self, tmp_path):
        contents = {"one": archive("Greek"), "two": archive("Tifinagh", characters=1)}
        characters = source(**contents).read(written(tmp_path, **contents))
        assert characters.labels == (
            "Greek/character01",
            "Greek/character02",
            "Tifinagh/character01",
        )
        assert characters.images.shape == (3, 3, 28, 28)
        for index, character in enumerate((1, 2, 1)):
            for drawer in range(3):
                # 105 pixels become 28: ink in the corner, whose edge is a mean of both.
                height, width = 4 * character, 4 * (drawer + 1)
                ink = np.zeros((28, 28))
                ink[:height, :width] = 255
                np.testing.assert_allclose(characters.images[index, drawer], ink, atol=1)

    def test_the_variable_and_a_subfolder_are_searched(self, tmp_path, monkeypatch):
        content = archive("Greek")
        (tmp_path / "omniglot").mkdir()
        written(tmp_path / "omniglot", one=content)
        monkeypatch.setenv("LEASTCONTROL_DATA", str(tmp_path))
        assert len(source(one=content).read().labels) == 2

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"no archive", r"not a ZIP archive .* expected Omniglot's"),
            (archive("Greek")[:-400], r"not a ZIP archive"),
            (archive("Greek", characters=0), r"holds no drawing .* expected an archive"),
            (archive("Greek", size=(28, 28)), r"has 28×28 pixels; expected the 105×105"),
        ],
        ids=["text", "cut", "empty", "small"],
    )
    def test_what_is_not_omniglot_is_refused(self, tmp_path, content, sentence):
        with pytest.raises(DataError, match=sentence):
            source(one=content).read(written(tmp_path, one=content))

    def test_another_archive_is_refused_by_its_checksum(self, tmp_path):
        with pytest.raises(DataError, match=r"the MD5 is .*; expected"):
            source(one=archive("Greek")).read(written(tmp_path, one=archive("Latin")))

    def test_missing_archives_and_uneven_drawings_are_refused(self, tmp_path, monkeypatch):
        monkeypatch.delenv("LEASTCONTROL_DATA", raising=False)
        one, two = archive("Greek"), archive("Latin", drawers=2)
        with pytest.raises(DataError, match=r"holds an archive of Omniglot; put one.zip"):
            source(one=one).read(tmp_path)
        written(tmp_path, one=one)
        with pytest.raises(DataError, match=r"two.zip: it cannot be read"):
            source(one=one, two=two).read(tmp_path)
        written(tmp_path, two=two)
        with pytest.raises(DataError, match=r"have 2 to 3 drawings"):
            source(one=one, two=two).read(tmp_path)
        with pytest.raises(DataError, match=r"cannot download one.zip of Omniglot"):
            source(one=one).read(cache_dir=tmp_path / "cache")

    def test_the_published_archives_are_named(self):
        assert [each.archive for each in data.OMNIGLOT.parts] == [
            "images_background.zip",
            "images_evaluation.zip",
        ]


def checksum(folder):
    """Returns the checksum of unpacked drawings, from its definition."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*/*/*.png")):
        alphabet, character, name = path.relative_to(folder).parts
        total.update(f"{alphabet}/{character}/{name[5:7]}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@pytest.fixture
def unpacked(tmp_path):
    """A part as its archive unpacks, and the source that knows it."""
    with zipfile.ZipFile(io.BytesIO(archive("Greek"))) as file:
        file.extractall(tmp_path / "omniglot")
    folder = tmp_path / "omniglot" / "images"
    part = data.OmniglotPart("images", "", checksum(folder), characters=2, drawers=3)
    return folder, data.OmniglotSource((part,), mirrors=())


class TestUnpackedOmniglot:
    def test_it_is_what_the_archive_holds(self, unpacked, tmp_path):
        folder, read_from = unpacked
        content = archive("Greek")
        packed = source(one=content).read(written(tmp_path, one=content))
        for place in (tmp_path, folder.parent):
            characters = read_from.read(place)
            np.testing.assert_array_equal(characters.images, packed.images)
            assert characters.labels == packed.labels
            assert characters.provenance.checksums == {"images": checksum(folder)}

    def test_a_folder_of_another_library_is_found(self, unpacked, tmp_path):
        folder, read_from = unpacked
        folder.parent.rename(tmp_path / "omniglot-py")
        assert len(read_from.read(tmp_path).labels) == 2

    def test_missing_characters_and_drawings_are_named(self, unpacked, tmp_path):
        folder, read_from = unpacked
        (folder / "Greek" / "character02" / "0001_02.png").unlink()
        with pytest.raises(DataError, match=r"2 drawings of Greek/character02; expected 3: unpack"):
            read_from.read(tmp_path)
        for path in (folder / "Greek" / "character02").iterdir():
            path.unlink()
        with pytest.raises(DataError, match=r"holds 1 characters; expected 2 of 3 drawings"):
            read_from.read(tmp_path)

    def test_a_changed_drawing_is_seen_before_it_is_decoded(self, unpacked, tmp_path):
        folder, read_from = unpacked
        (folder / "Greek" / "character01" / "0001_01.png").write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"the SHA-256 of its drawings is .*; expected"):
            read_from.read(tmp_path)

    def test_a_file_of_another_name_is_named(self, unpacked, tmp_path):
        folder, read_from = unpacked
        (folder / "Greek" / "character01" / "copy.png").write_bytes(b"")
        with pytest.raises(DataError, match=r"copy.png: it is not named ALPHABET/characterNN"):
            read_from.read(tmp_path)

    def test_the_published_drawings_are_counted(self):
        assert [part.characters for part in data.OMNIGLOT.parts] == [964, 659]
        assert {part.drawers for part in data.OMNIGLOT.parts} == {20}
