"""Verification: its checks find what is wrong, its reader refuses what is no vector.

The vectors are made here with NumPy alone, by the definition: the closed loop with the mean of the
batch's losses inside it, run to rest; the descent of the energy; reverse mode written out.
"""

import json
import math
import zipfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leastcontrol as lc
from leastcontrol.verify import properties, rows, vectors
from leastcontrol.verify.vectors import VectorError, read_vectors

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
PARAMETERS = ("input_weight", "input_bias", "weight", "bias", "readout_weight", "readout_bias")
RESULTS = {"loss", "output", "free_output", *(f"grad/{name}" for name in PARAMETERS)}
STATE = {"eq/state", "eq/output"}
CONTROL = {"eq/integral", "eq/control"}
MIRROR = {"aux_grad/feedback_weight", "aux_grad/feedback_readout"}


def softmax(y):
    exponentials = np.exp(y - y.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def make_vector(
    kind, trainer, *, samples=4, inputs=3, hidden=5, outputs=3, alpha=0.25, k_i=1.0, k_p=0.0, seed=0
):
    """Returns a vector's arrays and meta. A feedforward network is run as a recurrent one whose W
    has one block below the diagonal."""
    generator = np.random.default_rng(seed)
    draw = lambda *shape: generator.uniform(-1, 1, shape) / math.sqrt(shape[-1])  # noqa: E731
    x, y = generator.normal(size=(samples, inputs)), generator.integers(outputs, size=samples)
    param = {
        "input_weight": draw(hidden, inputs),
        "input_bias": draw(hidden),
        "weight": draw(hidden, hidden),
        "bias": draw(hidden),
        "readout_weight": draw(outputs, hidden),
        "readout_bias": draw(outputs),
    }
    if kind == "ff":
        W = np.kron([[0, 0], [1, 0]], param["weight"])
        U = np.vstack([param["input_weight"], np.zeros((hidden, inputs))])
        b = np.concatenate([param["input_bias"], param["bias"]])
        D = np.hstack([np.zeros((outputs, hidden)), param["readout_weight"]])
    else:
        W, U, D = param["weight"], param["input_weight"], param["readout_weight"]
        b = param["input_bias"] + param["bias"]
    d = param["readout_bias"]
    # The weights that the control goes backwards through, and those of linear feedback.
    S, T = W, D
    aux = {"feedback_weight": draw(hidden, hidden), "feedback_readout": draw(hidden, outputs)}
    if trainer == "lcp-kp":
        S, T = aux["feedback_weight"].T, aux["feedback_readout"].T
        if kind == "ff":
            S, T = np.kron([[0, 0], [1, 0]], S), np.hstack([np.zeros((outputs, hidden)), T])
    Q = draw(len(W), outputs)
    one_hot = np.eye(outputs)[y]

    field = lambda state: np.tanh(state) @ W.T + x @ U.T + b - state  # noqa: E731
    readout = lambda state: np.tanh(state) @ D.T + d  # noqa: E731
    slope = lambda output: (softmax(output) - one_hot) / samples  # noqa: E731
    mean_loss = lambda output: -np.mean(np.log(softmax(output)[range(samples), y]))  # noqa: E731

    def pull(state, control, output_control):
        if trainer == "lcp-lf":
            return output_control @ Q.T - control
        return (1 - np.tanh(state) ** 2) * (control @ S + output_control @ T) - control

    free = np.zeros((samples, len(W)))
    for _ in range(500):
        free = free + field(free)
    state, output = free, readout(free)
    control = output_control = integral = None
    if trainer in ("bp", "rbp"):
        output_control = -slope(output)
        control = np.zeros_like(free)
        for _ in range(500):
            control = control + pull(free, control, output_control)
    elif trainer != "lcp-ebd":
        control, integral = np.zeros_like(state), np.zeros_like(output)
        for _ in range(6000):
            output_control = k_i * integral - k_p * slope(output)
            state, control, integral, output = (
                state + 0.1 * (field(state) + control),
                control + 0.1 * pull(state, control, output_control),
                integral + 0.1 * (-slope(output) - alpha * integral),
                output + 0.1 * (readout(state) + output_control - output),
            )
    else:
        for _ in range(10000):
            control, output_control = -field(state), output - readout(state)
            state = state + 0.1 * pull(state, control, output_control)
            output = output - 0.1 * (output_control + slope(output) / alpha)

    # In linear feedback the parameters learn from the control times the slope of tanh.
    signal = control * (1 - np.tanh(state) ** 2) if trainer == "lcp-lf" else control
    grad_weight = -signal.T @ np.tanh(state)
    if kind == "ff":
        first, second = signal[:, :hidden], signal[:, hidden:]
        grad_weight, active = grad_weight[hidden:, :hidden], np.tanh(state[:, hidden:])
    else:
        first = second = signal
        active = np.tanh(state)
    gradients = (
        -first.T @ x,
        -first.sum(axis=0),
        grad_weight,
        -second.sum(axis=0),
        -output_control.T @ active,
        -output_control.sum(axis=0),
    )
    arrays = {"x": x, "y": y, **{f"param/{name}": array for name, array in param.items()}}
    arrays |= {f"grad/{n}": array for n, array in zip(PARAMETERS, gradients, strict=True)}
    arrays |= {"output": output, "free_output": readout(free), "loss": np.array(mean_loss(output))}
    if trainer not in ("bp", "rbp"):
        arrays |= {"eq/state": state, "eq/output": output}
    if trainer in ("lcp-di", "lcp-kp", "lcp-lf"):
        arrays |= {"eq/integral": integral, "eq/control": control}
    if trainer == "lcp-kp":
        arrays |= {f"aux/{name}": array for name, array in aux.items()}
        arrays |= {
            "aux_grad/feedback_weight": grad_weight.T,
            "aux_grad/feedback_readout": gradients[4].T,
        }
    if trainer == "lcp-lf":
        arrays["aux/Q"] = Q
    meta = {"kind": kind, "trainer": trainer, "alpha": alpha, "k_i": k_i, "k_p": k_p}
    return arrays, meta


def write(path, arrays, meta):
    np.savez(path, **arrays, meta=np.array(json.dumps(meta)))
    return path


def replay(path):
    (vector,) = read_vectors([path])
    return list(vectors.replay(vector))


def by_name(rows):
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    return dict(zip(names, rows, strict=True))


@pytest.fixture
def vector():
    """Arrays and meta that a test may damage."""
    return make_vector("rnn", "lcp-di", samples=2, inputs=2, hidden=3, outputs=3)


# Replaying


@pytest.mark.parametrize(
    ("kind", "trainer", "options", "names"),
    [
        ("ff", "bp", {}, RESULTS),
        ("ff", "rbp", {"samples": 3, "hidden": 4}, RESULTS),
        ("rnn", "rbp", {"outputs": 2}, RESULTS),
        ("ff", "lcp-di", {"k_i": 0.7, "k_p": 0.8}, RESULTS | STATE | CONTROL),
        ("rnn", "lcp-di", {"alpha": 0.5, "k_i": 2.0, "k_p": 0.3}, RESULTS | STATE | CONTROL),
        pytest.param(
            "ff",
            "lcp-ebd",
            {"samples": 2, "inputs": 5, "alpha": 0.15},
            RESULTS | STATE,
            marks=pytest.mark.slow,
        ),
        # The gains are a controller's, which gradient descent on the energy does not have.
        pytest.param(
            "rnn",
            "lcp-ebd",
            {"outputs": 4, "k_i": 3.0, "k_p": 2.0},
            RESULTS | STATE,
            marks=pytest.mark.slow,
        ),
        ("ff", "lcp-kp", {"k_p": 0.4}, RESULTS | STATE | CONTROL | MIRROR),
        pytest.param(
            "rnn",
            "lcp-kp",
            {"outputs": 4},
            RESULTS | STATE | CONTROL | MIRROR,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ff", "lcp-lf", {"outputs": 4}, RESULTS | STATE | CONTROL, marks=pytest.mark.slow
        ),
        ("rnn", "lcp-lf", {"k_i": 0.5}, RESULTS | STATE | CONTROL),
    ],
)
def test_a_vector_is_replayed(kind, trainer, options, names, tmp_path):
    path = write(tmp_path / f"{kind}_some.npz", *make_vector(kind, trainer, seed=7, **options))
    rows = by_name(replay(path))
    assert set(rows) == {f"{kind}_some/{name}" for name in names}
    for row in rows.values():
        assert row["status"] == "passed", row
        assert row["ok"] is True
        assert row["tolerance"] == 1e-8
        assert 0 <= row["error"] < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["grad/weight", "grad/input_bias", "eq/integral", "eq/control", "free_output", "loss"]
)
def test_a_perturbed_array_fails_and_no_other(name, tmp_path, vector):
    arrays, meta = vector
    arrays[name] = arrays[name] * (1 + 1e-6)
    rows = by_name(replay(write(tmp_path / "v.npz", arrays, meta)))
    assert [row for row in rows if not rows[row]["ok"]] == [f"v/{name}"]
    failed = rows[f"v/{name}"]
    assert failed["status"] == "failed"
    assert failed["ok"] is False
    assert failed["error"] == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0.26},
        pytest.param({"k_i": 1.1}, marks=pytest.mark.slow),
        pytest.param({"k_p": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_the_constants_matter(change, tmp_path):
    arrays, meta = make_vector("ff", "lcp-di", samples=2, inputs=2, hidden=3)
    rows = by_name(replay(write(tmp_path / "v.npz", arrays, meta | change)))
    failed = {name for name, row in rows.items() if not row["ok"]}
    assert {"v/eq/state", "v/eq/control", "v/grad/weight", "v/loss"} <= failed
    assert "v/free_output" not in failed


def test_a_result_of_zero_is_compared_absolutely(tmp_path, vector):
    arrays, meta = vector
    arrays["x"] = np.zeros_like(arrays["x"])
    arrays["grad/input_weight"] = np.zeros_like(arrays["grad/input_weight"])
    rows = by_name(replay(write(tmp_path / "v.npz", arrays, meta)))
    assert rows["v/grad/input_weight"]["ok"] is True
    arrays["grad/input_bias"] = np.zeros_like(arrays["grad/input_bias"])
    rows = by_name(replay(write(tmp_path / "v.npz", arrays, meta)))
    assert rows["v/grad/input_bias"]["ok"] is False
    assert math.isfinite(rows["v/grad/input_bias"]["error"])


@pytest.mark.slow
def test_strong_control_is_replayed_too(tmp_path):
    arrays, meta = make_vector("ff", "lcp-di", samples=2, alpha=0.02, seed=3)
    rows = replay(write(tmp_path / "v.npz", arrays, meta))
    assert [row for row in rows if not row["ok"]] == []


@pytest.mark.slow
def test_where_the_iteration_fails_exact_control_is_tried(tmp_path, vector, monkeypatch):
    def one_step(vector, size):
        controller = lc.DynamicInversion(vectors.TOLERANCE, lc.FixedPoint(max_steps=1))
        leak = lc.batch_mean_leak(vector.alpha, size)
        return lc.LeastControl(controller, leak), "one step"

    monkeypatch.setattr(vectors, "_rule", one_step)
    # Newton's method takes ten seconds to compile: another controller stands in for it.
    stand_in = lambda tolerance: lc.DynamicInversion(tolerance, vectors.MIXED)  # noqa: E731
    monkeypatch.setattr(vectors, "Exact", stand_in)
    rows = replay(write(tmp_path / "v.npz", *vector))
    assert {row["status"] for row in rows} == {"passed"}
    assert "by exact control (after one step left samples unsolved)" in rows[0]["detail"]


def test_a_rest_point_that_is_not_found_is_a_failure(tmp_path):
    """A network that does not settle: a bistable rotation, far from contracting."""
    arrays, meta = make_vector("rnn", "rbp", hidden=4)
    rotation = np.kron(np.eye(2), [[0.0, -1.0], [1.0, 0.0]])
    arrays["param/weight"] = 40 * rotation
    rows = replay(write(tmp_path / "v.npz", arrays, meta))
    assert {row["status"] for row in rows} == {"failed"}
    assert {row["error"] for row in rows} == {None}
    assert "of the rest points were not found" in rows[0]["detail"]


def test_an_unknown_array_of_results_is_unsupported(tmp_path, vector):
    arrays, meta = vector
    arrays["eq/steps"] = np.arange(2)
    rows = by_name(replay(write(tmp_path / "v.npz", arrays, meta)))
    assert rows["v/eq/steps"]["status"] == "unsupported"
    assert rows["v/grad/weight"]["ok"] is True


@pytest.mark.parametrize(
    ("trainer", "name"), [("lcp-kp", "aux/feedback_weight"), ("lcp-lf", "aux/Q")]
)
def test_learned_feedback_needs_its_weights(trainer, name, tmp_path, vector):
    arrays, meta = vector
    path = write(tmp_path / "v.npz", arrays, meta | {"trainer": trainer})
    with pytest.raises(VectorError, match=rf"v\.npz lacks .*'{name}'"):
        read_vectors([path])
    fresh, meta = make_vector("rnn", trainer, samples=2)
    fresh[name] = fresh[name][:-1]
    with pytest.raises(VectorError, match=f"holds '{name}' of shape"):
        read_vectors([write(tmp_path / "v.npz", fresh, meta)])


@pytest.mark.slow
def test_the_reference_vectors_are_replayed():
    if not GOLDEN.is_dir():
        pytest.skip(f"no reference vectors at {GOLDEN}")
    files = {path.stem for path in GOLDEN.glob("*.npz")}
    rows = [row for vector in read_vectors([GOLDEN]) for row in vectors.replay(vector)]
    assert {row["name"].split("/")[0] for row in rows} == files
    assert [row for row in rows if row["ok"] is False] == []
    replayed = {row["name"].split("/")[0] for row in rows if row["ok"]}
    wanted = ("_bp", "_rbp", "_lcp-di", "_lcp-ebd", "_lcp-kp", "_lcp-lf")
    feedback = ("dfc_", "strong_dfc_")
    assert replayed == {s for s in files if s.endswith(wanted) or s.startswith(feedback)}


# Reading


def refused(path, *expected):
    """Reading must fail with one sentence that names the file and holds the expected pieces."""
    with pytest.raises(VectorError) as caught:
        read_vectors([path])
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert str(path) in message
    for piece in expected:
        assert piece in message, message
    return message


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path, vector):
    for name in ("b", "a", "c"):
        write(tmp_path / f"{name}.npz", *vector)
    (tmp_path / "README.md").write_text("not a vector")
    assert [v.name for v in read_vectors([tmp_path])] == ["a", "b", "c"]
    assert [v.name for v in read_vectors([tmp_path / "c.npz", tmp_path])] == ["c", "a", "b", "c"]


def test_a_missing_path_and_an_empty_folder(tmp_path):
    refused(tmp_path / "nothing.npz", "nothing at")
    (tmp_path / "notes.txt").write_text("")
    refused(tmp_path, "no file that ends in .npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(VectorError, match="not a regular file"):
        read_vectors([tmp_path])


def test_a_file_of_another_format(tmp_path):
    for number, content in enumerate((b"", b"no archive", b"\x93NUMPY\x01\x00", b"PK\x03\x04")):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(content)
        refused(path, "not a complete .npz file")
    np.save(tmp_path / "one.npy", np.ones(3))
    refused(tmp_path / "one.npy", "not a complete .npz file")


def test_a_truncated_file(tmp_path, vector):
    whole = write(tmp_path / "whole.npz", *vector).read_bytes()
    path = tmp_path / "part.npz"
    for share in (0.05, 0.3, 0.6, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(path)


def test_damaged_bytes_are_refused_or_change_nothing(tmp_path, vector):
    """Single bytes overwritten all over the file; the archive has checksums of its members."""
    whole = write(tmp_path / "whole.npz", *vector).read_bytes()
    (expected,) = read_vectors([tmp_path / "whole.npz"])
    path = tmp_path / "damaged.npz"
    refusals = 0
    for position in range(0, len(whole), 29):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            (parsed,) = read_vectors([path])
        except VectorError:
            refusals += 1
        else:
            for name, array in expected.arrays.items():
                np.testing.assert_array_equal(parsed.arrays[name], array)
    assert refusals > len(whole) / 29 / 2


class Bomb:
    """What a pickle can do when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_objects_are_never_loaded(tmp_path, vector):
    arrays, meta = vector
    trace = tmp_path / "trace"
    arrays["eq/extra"] = np.array([Bomb(trace)], dtype=object)
    path = write(tmp_path / "v.npz", arrays, meta)
    refused(path, "pickled objects")
    assert not trace.exists()
    np.load(path, allow_pickle=True)["eq/extra"]
    assert trace.exists()


def test_a_member_that_is_no_array(tmp_path, vector):
    path = write(tmp_path / "v.npz", *vector)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "hello")
    refused(path, "notes.txt", "not a NumPy array")


@pytest.mark.parametrize(
    "meta",
    [
        None,
        np.array("not JSON"),
        np.array("[1]"),
        np.array("[" * 100000),
        np.array(["{}"]),
        np.array(3.0),
    ],
)
def test_a_meta_that_is_none(meta, tmp_path, vector):
    arrays, _ = vector
    path = tmp_path / "v.npz"
    np.savez(path, **arrays, **({} if meta is None else {"meta": meta}))
    refused(path, "'meta'", "JSON object")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "cnn"}, ("the kind 'cnn'", "ff, rnn")),
        ({"kind": ["ff"]}, ("the kind ['ff']",)),
        ({"trainer": "sgd"}, ("the trainer 'sgd'", "lcp-di")),
        ({"trainer": None}, ("the trainer None",)),
        ({"trainer": "bp"}, ("'bp'", "'rnn'", "'rbp'")),
        ({"alpha": 0}, ("alpha = 0", "above 0")),
        ({"alpha": -0.1}, ("alpha = -0.1",)),
        ({"alpha": math.nan}, ("JSON object",)),
        ({"alpha": math.inf}, ("JSON object",)),
        ({"alpha": 10**400}, ("JSON object",)),
        ({"alpha": "0.1"}, ("alpha = '0.1'",)),
        ({"alpha": True}, ("alpha = True",)),
        ({"k_i": 0}, ("k_i = 0", "above 0")),
        ({"k_p": -1}, ("k_p = -1", "at least 0")),
    ],
)
def test_a_meta_that_is_wrong(change, expected, tmp_path, vector):
    arrays, meta = vector
    refused(write(tmp_path / "v.npz", arrays, meta | change), *expected)


@pytest.mark.parametrize("name", ["kind", "trainer", "alpha", "k_i", "k_p"])
def test_a_meta_that_lacks_something(name, tmp_path, vector):
    arrays, meta = vector
    del meta[name]
    refused(write(tmp_path / "v.npz", arrays, meta), f"no {name}")


def test_a_baseline_needs_no_constants(tmp_path):
    arrays, _ = make_vector("ff", "bp")
    (vector,) = read_vectors(
        [write(tmp_path / "v.npz", arrays, {"kind": "ff", "trainer": "bp", "alpha": None})]
    )
    assert vector.trainer == "bp"


@pytest.mark.parametrize(
    "name", ["x", "y", "param/weight", "grad/readout_bias", "loss", "eq/state", "eq/integral"]
)
def test_a_missing_array(name, tmp_path, vector):
    arrays, meta = vector
    del arrays[name]
    refused(write(tmp_path / "v.npz", arrays, meta), f"lacks '{name}'")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("x", np.ones((3, 2)), "of shape (2, 3), but with its other arrays that is (3, 3)"),
        ("x", np.ones(2), "'x' of shape (2,)"),
        ("x", np.ones((0, 2)), "'x' of shape (0, 2)"),
        ("param/weight", np.ones((4, 4)), "'param/weight' of shape (4, 4)"),
        ("param/bias", np.ones(4), "'param/bias' of shape (4,)"),
        ("grad/readout_weight", np.ones((3, 2)), "'grad/readout_weight' of shape (3, 2)"),
        ("eq/state", np.ones((2, 6)), "'eq/state' of shape (2, 6)"),
        ("loss", np.ones(1), "'loss' of shape (1,)"),
        ("param/weight", np.ones((3, 3), np.float32), "'param/weight' of dtype float32"),
        ("x", np.ones((2, 2), complex), "'x' of dtype complex128"),
        ("output", np.full((2, 3), "a"), "'output' of dtype <U1"),
        ("y", np.ones(2), "'y' of dtype float64"),
        ("y", np.array([True, False]), "'y' of dtype bool"),
        ("y", np.array([0, 3]), "labels from 0 to 3"),
        ("y", np.array([-1, 0]), "labels from -1 to 0"),
        ("grad/weight", np.full((3, 3), np.nan), "'grad/weight' with values that are not finite"),
        ("x", np.full((2, 2), np.inf), "'x' with values that are not finite"),
    ],
)
def test_an_array_that_does_not_fit(name, wrong, expected, tmp_path, vector):
    arrays, meta = vector
    arrays[name] = wrong
    refused(write(tmp_path / "v.npz", arrays, meta), expected)


# Rows


def test_a_row_is_judged_by_its_error():
    row = rows.judged("a", 0.5, 0.5, "What.")
    assert row == {
        "name": "a", "error": 0.5, "tolerance": 0.5, "ok": True, "status": "passed",
        "detail": "What.",
    }  # fmt: skip
    row = rows.judged("a", 0.6, 0.5, "What.")
    assert (row["ok"], row["status"], row["error"]) == (False, "failed", 0.6)


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_a_row_without_a_finite_error_has_failed(error):
    row = rows.judged("a", error, 0.5, "What.")
    assert (row["ok"], row["status"], row["error"]) == (False, "failed", None)
    assert row["detail"] == "What: the error is not a finite number."
    json.dumps(row, allow_nan=False)


def test_a_row_of_unsolved_rest_points_has_failed():
    row = rows.judged("a", 0.0, 0.5, "What.", unsolved=2)
    assert (row["ok"], row["status"], row["error"]) == (False, "failed", None)
    assert row["detail"] == "What: 2 of the rest points were not found."


# Properties


@pytest.fixture(scope="module")
def cases():
    return properties._cases(jax.random.key(3))


def test_the_differences_are_a_known_gradient():
    """f = θx − φ and y = h(φ) + u with h = φ, squared error: min F = (θx − t)² / 2(2 + α)."""
    system = lc.FunctionSystem(
        lambda theta, state, x: theta * x - state, lambda theta, state: state, 0.7 * jnp.ones(3),
        np.zeros(3),
    )  # fmt: skip
    x = np.array([[1.0, 2.0, -1.0], [0.5, 0.3, 1.0]])
    target = np.array([[0.2, -0.4, 1.0], [1.0, 0.0, 0.3]])
    batch = lc.Batch(jnp.asarray(x), jnp.asarray(target))
    case = properties.Case("linear", system, lc.SquaredError(), batch)
    differences = properties.central_differences(case, 0.5)
    expected = np.mean(x * (0.7 * x - target), axis=0) / 2.5
    np.testing.assert_allclose(differences[: expected.size], expected, rtol=1e-9)


@pytest.mark.parametrize("rate", [10.0, 0.02])
def test_the_differences_say_where_the_descent_does_not_rest(rate):
    """f = x − rate · φ, of which the steps of the descent are far too long or too short."""
    system = lc.FunctionSystem(
        lambda theta, state, x: x - rate * state, lambda theta, state: theta * rate * state,
        jnp.ones(3), np.zeros(3),
    )  # fmt: skip
    batch = lc.Batch(jnp.ones((1, 3)), jnp.ones((1, 3)))
    case = properties.Case("other", system, lc.SquaredError(), batch)
    assert np.isnan(properties.central_differences(case, 0.5)[:3]).all()


def test_an_order_is_measured():
    assert properties._order([3e-2, 3e-4], [1e-1, 1e-2]) == pytest.approx(2)
    assert math.isnan(properties._order([1.0, -1.0], [1e-1, 1e-2]))
    assert not math.isfinite(properties._order([1.0, 0.0], [1e-1, 1e-2]))


def test_a_distance_does_not_lose_what_is_not_a_number():
    good, bad = np.ones(2), np.array([1.0, np.nan])
    assert properties._distance([good, 1.5 * good], [good, good]) == 0.5
    assert math.isnan(properties._distance([bad, good], [good, good]))
    assert math.isnan(properties._distance([good, bad], [good, good]))


class Scaled(lc.LeastControl):
    """A rule whose update is wrong by a share, in one layer."""

    def __call__(self, system, feedback, batch, *, key=None):
        credit = super().__call__(system, feedback, batch, key=key)
        wrong = lambda leaf: leaf * (1 + 1e-5)  # noqa: E731
        return eqx.tree_at(lambda c: c.gradient.layers[0].weight, credit, replace_fn=wrong)


class Louder(lc.Backpropagation):
    """A baseline whose gradient is too long by a tenth."""

    def __call__(self, system, feedback, batch, *, key=None):
        credit = super().__call__(system, feedback, batch, key=key)
        return eqx.tree_at(
            lambda c: c.gradient, credit, jax.tree.map(lambda leaf: 1.1 * leaf, credit.gradient)
        )


class BatchMean(lc.LeastControl):
    """A rule whose control strength falls with the batch size."""

    def __call__(self, system, feedback, batch, *, key=None):
        size = batch.inputs.shape[0]
        leak = lc.batch_mean_leak(self.output_control.leak, size)
        rule = lc.LeastControl(self.controller, leak, loss=self.loss)
        return rule(system, feedback, batch, key=key)


@pytest.fixture
def quick(monkeypatch):
    """One controller instead of three: its checks without the compilation of the others."""
    controllers = properties.CONTROLLERS
    same = dict.fromkeys(controllers, controllers["dynamic-inversion"])
    monkeypatch.setattr(properties, "CONTROLLERS", same)


def statuses(rows):
    return {row["name"]: row["status"] for row in rows}


@pytest.mark.slow
def test_the_checks_of_a_controller_pass(cases, quick):
    outcome = statuses(properties.check_controllers(cases[0]))
    controllers = ("dynamic-inversion", "energy", "exact")
    assert outcome == {
        **{f"theorem-1/feedforward/{name}": "passed" for name in controllers},
        **{f"agreement/feedforward/{name}": "passed" for name in controllers[:2]},
        "locality/feedforward": "passed",
        **{f"fitted/feedforward/{name}": "passed" for name in controllers},
    }


def test_a_wrong_update_fails_theorem_1_and_locality(cases, quick, monkeypatch):
    monkeypatch.setattr(properties, "LeastControl", Scaled)
    outcome = statuses(properties.check_controllers(cases[0]))
    assert outcome["theorem-1/feedforward/dynamic-inversion"] == "failed"
    assert outcome["locality/feedforward"] == "failed"
    assert outcome["agreement/feedforward/energy"] == "passed"


@pytest.mark.slow
def test_a_strength_that_depends_on_the_batch_fails(cases, monkeypatch):
    (row,) = properties.check_batch(cases[0])
    assert row["status"] == "passed"
    monkeypatch.setattr(properties, "LeastControl", BatchMean)
    (row,) = properties.check_batch(cases[0])
    assert row["status"] == "failed"
    assert row["error"] > 1e-3


@pytest.mark.slow
def test_a_wrong_baseline_fails_the_limit_of_weak_control(cases):
    (row,) = properties.check_weak_control(cases[0], lc.Backpropagation())
    assert (row["name"], row["status"]) == ("weak-control/feedforward", "passed")
    (row,) = properties.check_weak_control(cases[0], Louder())
    assert row["status"] == "failed"


def test_the_strength_of_control_orders_the_energies(cases):
    rows = statuses(properties.check_strength(cases[0]))
    assert rows == {
        "monotone/feedforward": "passed",
        "bounded/feedforward": "passed",
        "strong-control/feedforward": "passed",
    }


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        # F/β instead of F: what is minimised then falls with the strength.
        (lambda energy, leak, loss: jnp.where(leak > 0, leak, 1) * energy, "monotone"),
        # The loss counted three times: H is approached from above.
        (lambda energy, leak, loss: energy + 2 * loss / jnp.where(leak > 0, leak, 1), "bounded"),
    ],
)
def test_a_wrong_energy_fails_the_strength_of_control(wrong, expected, cases, monkeypatch):
    energy = lc.ControlProblem.energy

    def wrong_energy(problem, sample, control_square, read, output_control):
        right = energy(problem, sample, control_square, read, output_control)
        loss = problem.loss(read + output_control, sample.target)
        return wrong(right, problem.leak, loss)

    monkeypatch.setattr(lc.ControlProblem, "energy", wrong_energy)
    rows = statuses(properties.check_strength(cases[0]))
    assert rows[f"{expected}/feedforward"] == "failed"


@pytest.mark.slow
def test_the_recurrent_form_passes(cases):
    (row,) = properties.check_recurrent_form(cases[0])
    assert (row["name"], row["status"]) == ("recurrent-form/feedforward", "passed")


# All of it


def test_nothing_is_computed_before_every_vector_is_read(tmp_path, vector, monkeypatch):
    monkeypatch.setattr(properties, "_cases", lambda key: pytest.fail("computed"))
    write(tmp_path / "a.npz", *vector)
    (tmp_path / "b.npz").write_bytes(b"damaged")
    with pytest.raises(VectorError, match=r"b\.npz"):
        properties.verify([tmp_path])


@pytest.fixture
def single_precision():
    """A user's process: 64-bit numbers off everywhere, and not in this thread alone."""
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


def test_single_precision_stays_the_callers_setting(
    tmp_path, vector, single_precision, monkeypatch
):
    for name in ("controllers", "weak_control", "strength", "batch", "recurrent_form"):
        monkeypatch.setattr(properties, f"check_{name}", lambda *_: iter(()))
    reported = []
    rows = properties.verify([write(tmp_path / "v.npz", *vector)], report=reported.append)
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == jnp.float32
    assert reported == rows
    assert set(by_name(rows)) == {f"v/{name}" for name in RESULTS | STATE | CONTROL}
    assert {row["status"] for row in rows} == {"passed"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_every_property_holds(seed, single_precision):
    rows = by_name(properties.verify(seed=seed))
    json.dumps(list(rows.values()), allow_nan=False)
    assert [row for row in rows.values() if not row["ok"]] == []
    systems, controllers = ("feedforward", "recurrent", "function"), properties.CONTROLLERS
    expected = {f"{kind}/{s}/{c}" for kind in ("theorem-1", "fitted") for s in systems
                for c in controllers}  # fmt: skip
    expected |= {f"agreement/{s}/{c}" for s in systems for c in ("dynamic-inversion", "energy")}
    expected |= {
        f"{kind}/{s}"
        for kind in ("locality", "weak-control", "monotone", "bounded", "strong-control", "batch")
        for s in systems[:2]
    }
    assert set(rows) == expected | {"recurrent-form/feedforward"}
