"""Every example runs in a process of its own, as its readers run it, and shows what it claims.

It prints what is stored of it for the documentation, too, up to what another machine may change.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from notebooks import outputs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# Runs an example and prints the values of expressions in its variables on a last line.
SHOW = """
import json, runpy, sys
space = runpy.run_path(sys.argv[1])
print(json.dumps({claim: float(eval(claim, space)) for claim in sys.argv[2:]}))
"""

# For each example, expressions in its variables, with the least and the largest value.
CLAIMS: dict[str, dict[str, tuple[float, float]]] = {
    "flax_nnx_cell": {"accuracy": (0.94, 1), "solved_in_training": (0.995, 1)},
    "encoder_equilibrium_decoder": {
        "accuracy_by_loss": (0.93, 1),
        "accuracy_by_control": (0.93, 1),
        "solved_by_loss": (0.98, 1),
        "solved_by_control": (0.96, 1),
    },
    "deq_transformer": {"bits": (0, 3.6), "solved_share": (0.85, 1)},
    "lotka_volterra": {
        "error": (0, 0.05),
        "correlation": (0.6, 1),
        "solved_share": (0.999, 1),
    },
    "energy_model": {"after - by_pixel": (0.2, 20), "solved_share": (0.98, 1)},
    "bilevel": {
        "gradient_error": (0, 1e-3),
        "before - after": (0.01, 1),
        "solved_share": (1, 1),
    },
    "warm_starts": {
        "warm_mean / cold_mean": (0, 0.6),
        "difference": (0, 1e-3),
        "error": (0, 0.3),
        "solved_share": (1, 1),
    },
    "ensemble": {
        "ensemble - member": (0.01, 1),
        "where_wrong / where_right": (1.5, 100),
        "solved_share": (0.99, 1),
    },
}


def shown(name: str, claims: list[str], folder: Path) -> tuple[str, dict[str, float]]:
    """Runs an example; returns what it prints, and the values of expressions in its variables."""
    # The tests' own flags would give programs that are slower to run.
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    run = subprocess.run(
        [sys.executable, "-c", SHOW, str(EXAMPLES / f"{name}.py"), *claims],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    *sentences, last = run.stdout.splitlines()
    assert sentences, "It prints nothing of what it shows."
    return "\n".join(sentences), json.loads(last)


def test_every_example_makes_a_claim():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_an_example_shows_what_it_claims(name: str, tmp_path: Path):
    if name.startswith("flax") and find_spec("flax") is None:
        pytest.skip("Flax is not installed.")
    printed, values = shown(name, list(CLAIMS[name]), tmp_path)
    missed = {
        claim: values[claim]
        for claim, (least, most) in CLAIMS[name].items()
        if not least <= values[claim] <= most
    }
    assert not missed
    stored = "".join(outputs.read(ROOT)[name]["printed"])
    assert not outputs.differences(stored, printed), f"Run `{outputs.COMMAND}`."
