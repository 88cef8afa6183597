"""Reference vectors of deep feedback control: replayed, compared, and refused.

The vectors are made here with NumPy alone, step by step as the method is written down, without
anything of the package.
"""

import json

import numpy as np
import pytest

from leastcontrol.verify import vectors
from leastcontrol.verify.vector_files import VectorError

CONSTANTS = {
    "dt_di": 0.02,
    "tmax_di": 15,
    "k_p": 1.3,
    "alpha_di": 0.05,
    "time_constant_ratio": 0.2,
    "dt_di_fb": 0.003,
    "tmax_di_fb": 13,
    "k_p_fb": 0.4,
    "alpha_di_fb": 0.3,
    "time_constant_ratio_fb": 0.02,
    "apical_time_constant_fb": 0.1,
    "sigma": 0.003,
    "sigma_output": 0.05,
    "sigma_fb": 0.04,
    "sigma_output_fb": 0.06,
    "tau_f": 0.5,
    "tau_noise": 0.07,
    "target_stepsize": 0.1,
}
SIZES = (3, 4, 3, 2)
BATCH = 2


def softmax(y):
    exponentials = np.exp(y - y.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def make_vector(mode, error="difference", **options):
    """Returns the arrays and the meta of a vector."""
    meta = CONSTANTS | {"mode": mode, "error": error} | options
    of = lambda name, default=False: meta.get(name, default)  # noqa: E731
    strong, jacobian = of("strong_feedback"), of("use_jacobian_as_fb")
    generator = np.random.default_rng(5)
    x = generator.normal(size=(BATCH, SIZES[0]))
    y = np.where(np.eye(SIZES[-1])[[0, 1]] > 0, 0.9, 0.1)
    layers = range(len(SIZES) - 1)
    W = [generator.normal(size=(SIZES[i + 1], SIZES[i])) / np.sqrt(SIZES[i]) for i in layers]
    b = [0.1 * generator.normal(size=SIZES[i + 1]) for i in layers]
    Q = [generator.normal(size=(SIZES[i + 1], SIZES[-1])) / 2 for i in layers]
    Q[-1] = np.eye(SIZES[-1])
    last = len(layers) - 1
    act = lambda i, v: v if i == last else np.tanh(v)  # noqa: E731

    suffix = "_fb" if mode == "feedback" else ""
    number = lambda name: meta[name + suffix]  # noqa: E731
    dt, points, alpha, k_p = map(number, ("dt_di", "tmax_di", "alpha_di", "k_p"))
    tau, apical = number("time_constant_ratio"), of("apical_time_constant" + suffix, -1)
    apical = dt if apical == -1 else apical
    noisy = mode in ("single_phase", "feedback") or of("noisy_dynamics")
    filtered = mode == "single_phase" or of("low_pass_filter_noise")
    noise = [generator.normal(size=(points - 1, BATCH, SIZES[i + 1])) for i in layers]
    sigma = [number("sigma_output") if i == last else number("sigma") for i in layers]

    free, rate = [], x
    for i in layers:
        free.append(rate @ W[i].T + b[i])
        rate = act(i, free[i])
    if strong:
        target = y
    elif mode == "feedback":
        target = free[-1]
    else:
        target = free[-1] - meta["target_stepsize"] * (softmax(free[-1]) - y)
    measured = softmax if error == "cross_entropy" else (lambda output: output)

    def drive(v, u):
        if not jacobian:
            return [u @ Q[i].T for i in layers]
        drives = [u]
        for i in reversed(range(last)):
            drives.insert(0, (1 - np.tanh(v[i]) ** 2) * (drives[0] @ W[i + 1]))
        return drives

    v, basal = [voltage.copy() for voltage in free], [voltage.copy() for voltage in free]
    rates = [act(i, v[i]) for i in layers]
    fb = [np.zeros_like(voltage) for voltage in free]
    n = [np.zeros_like(voltage) for voltage in free]
    s, u, low = np.zeros_like(y), np.zeros_like(y), np.zeros_like(y)
    us, fbs, sums = [u], [fb], [np.zeros_like(w) for w in W]
    bias_sums = [np.zeros_like(bias) for bias in b]
    for k in range(points - 1):
        e = target - measured(v[-1])
        s = s + dt * (e - alpha * u)
        old_low, u = low, s + k_p * e
        low = u
        if of("low_pass_filter_u"):
            a = dt / meta["tau_f"]
            low = u if k == 0 else a * u + (1 - a) * old_low
        c = drive(v, low if of("proactive_controller", True) else old_low)
        new_v, new_basal, new_fb, new_rates = [], [], [], []
        for i in layers:
            instant = of("inst_transmission" + suffix, True) or of("inst_system_dynamics")
            before = x if i == 0 else (new_rates if instant else rates)[i - 1]
            new_basal.append(before @ W[i].T + b[i])
            feedback = fb[i] + dt / apical * (c[i] - fb[i])
            if noisy and filtered:
                constant = meta["tau_noise"]
                n[i] = np.sqrt(dt) / constant * noise[i][k] + (1 - dt / constant) * n[i]
                feedback = feedback + sigma[i] * n[i]
            elif noisy:
                feedback = feedback + sigma[i] * np.sqrt(dt) / apical * noise[i][k]
            new_fb.append(feedback)
            step = 1 if of("inst_system_dynamics") else dt / tau
            new_v.append(v[i] + step * (new_basal[i] + feedback - v[i]))
            new_rates.append(act(i, new_v[i]))
        v, basal, fb, rates = new_v, new_basal, new_fb, new_rates
        us.append(u)
        fbs.append(fb)
        for i in layers:
            D = (
                v[i] - basal[i]
                if of("learning_rule") == "voltage_difference"
                else (act(i, v[i]) - act(i, basal[i]))
            )
            sums[i] -= 2 / (BATCH * points) * D.T @ (x if i == 0 else rates[i - 1])
            bias_sums[i] -= 2 / (BATCH * points) * D.sum(axis=0)

    arrays = {"x": x, "y": y, "free_output": free[-1], "u_end": us[-1]}
    for i in layers:
        arrays |= {f"param/{i}/weight": W[i], f"param/{i}/bias": b[i]}
        if not jacobian:
            arrays[f"param/{i}/feedback"] = Q[i]
        if noisy:
            arrays[f"noise/{i}"] = noise[i]
        if mode in ("continuous", "single_phase"):
            arrays |= {f"grad/{i}/weight": sums[i], f"grad/{i}/bias": bias_sums[i]}
        if mode == "steady":
            before = x if i == 0 else rates[i - 1]
            a, change = before @ W[i].T + b[i], v[i] - basal[i]
            # The authors' code has the other sign and twice the size for voltages.
            D = act(i, a + change) - act(i, a)
            if of("learning_rule") == "voltage_difference":
                D = -2 * change
            arrays[f"grad/{i}/weight"] = -2 / BATCH * D.T @ before
            arrays[f"grad/{i}/bias"] = -2 / BATCH * D.sum(axis=0)
    if mode in ("single_phase", "feedback"):
        z = us[1:]
        if mode == "single_phase":
            rate, low = dt / meta["tau_f"], us[1]
            z = []
            for control in us[1:]:
                low = rate * control + (1 - rate) * low
                z.append(control - low)
        for i in layers:
            scale = 1.0
            if of("scaling_fb_updates"):
                scale = (1 + tau / meta["tau_noise"]) ** (last - i)
            product = sum(fbs[k][i].T @ z[k] for k in range(points - 1))
            kappa = scale / max(sigma[i], 0.01) ** 2
            arrays[f"grad/{i}/feedback"] = kappa / ((points - 1) * BATCH) * product
    if mode == "feedback":
        quarter = points // 4
        arrays["u_end"] = sum(us[points - quarter : points - 1]) / quarter
    return arrays, meta


def replay(path, arrays, meta):
    np.savez(path, **arrays, meta=np.array(json.dumps(meta)))
    (vector,) = vectors.read_vectors([path])
    return {row["name"].split("/", 1)[-1]: row for row in vectors.replay(vector)}


CASES = {
    "continuous": ("continuous", "difference", {}),
    "delayed": (
        "continuous",
        "difference",
        {"inst_transmission": False, "proactive_controller": False, "low_pass_filter_u": True},
    ),
    "instantaneous, lagging apical": (
        "continuous",
        "difference",
        {"inst_system_dynamics": True, "apical_time_constant": 0.1, "k_p": 0.0},
    ),
    "noisy voltages": (
        "continuous",
        "difference",
        {"noisy_dynamics": True, "learning_rule": "voltage_difference"},
    ),
    "steady voltages": ("steady", "difference", {"learning_rule": "voltage_difference"}),
    "strong": ("steady", "cross_entropy", {"strong_feedback": True}),
    "jacobian": ("steady", "difference", {"use_jacobian_as_fb": True}),
    "single phase": (
        "single_phase",
        "cross_entropy",
        {"strong_feedback": True, "scaling_fb_updates": True},
    ),
    "feedback": (
        "feedback",
        "cross_entropy",
        {"strong_feedback": True, "scaling_fb_updates": True},
    ),
    "weak feedback, delayed": ("feedback", "difference", {"inst_transmission_fb": False}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_vector_is_replayed(case, tmp_path):
    mode, error, options = CASES[case]
    arrays, meta = make_vector(mode, error, **options)
    rows = replay(tmp_path / "v.npz", arrays, meta)
    results = {n for n in arrays if n not in ("x", "y") and not n.startswith(("param", "noise"))}
    assert set(rows) == results
    assert {name: row["error"] for name, row in rows.items() if not row["ok"]} == {}


def test_a_wrong_result_fails(tmp_path):
    arrays, meta = make_vector("steady")
    arrays["grad/1/weight"] = arrays["grad/1/weight"] * (1 + 1e-6)
    rows = replay(tmp_path / "v.npz", arrays, meta | {"use_jacobian_as_fb": False})
    assert [name for name, row in rows.items() if not row["ok"]] == ["grad/1/weight"]
    np.testing.assert_allclose(rows["grad/1/weight"]["error"], 1e-6, rtol=1e-3)


@pytest.mark.parametrize(
    "change", [{"mode": "dreaming"}, {"homeostatic": True}, {"dt_di": 0.3}], ids=str
)
def test_what_is_not_replayed_is_one_unsupported_row(change, tmp_path):
    arrays, meta = make_vector("continuous")
    (row,) = replay(tmp_path / "v.npz", arrays, meta | change).values()
    assert row["status"] == "unsupported"
    assert row["detail"].endswith(".")


@pytest.mark.parametrize(
    ("change", "damage", "words"),
    [
        ({"alpha_di": -1}, {}, "alpha_di = -1"),
        ({"tmax_di": 2}, {}, "time points"),
        ({"inst_transmission": 1}, {}, "true or false"),
        ({"learning_rule": "hebb"}, {}, "hebb"),
        ({"error": "mean"}, {}, "mean"),
        ({}, {"u_end": None}, "lacks 'u_end'"),
        ({}, {"param/1/feedback": np.ones((3, 3))}, "param/1/feedback"),
        ({}, {"x": np.ones((2, 3), np.float32)}, "double precision"),
        ({}, {"x": np.full((2, 3), np.nan)}, "finite"),
    ],
    ids=str,
)
def test_a_damaged_vector_is_refused_in_one_sentence(change, damage, words, tmp_path):
    arrays, meta = make_vector("continuous")
    arrays = {name: array for name, array in (arrays | damage).items() if array is not None}
    with pytest.raises(VectorError, match=words) as caught:
        replay(tmp_path / "v.npz", arrays, meta | change)
    assert "\n" not in str(caught.value)
