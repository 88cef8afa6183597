"""The faults fit the package as it is; which tests see them is said by `python tests/faults`."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from named_faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_its_place_and_its_tests(fault):
    (place,) = fault.places(ROOT / "leastcontrol")
    text = place.read_text(encoding="utf-8")
    changed = text.replace(fault.old, fault.new)
    # Other code, and not only other spaces; one line of it.
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))
    pairs = zip(text.splitlines(), changed.splitlines(), strict=True)
    assert sum(before != after for before, after in pairs) == 1
    assert [path.name for path in fault.files(ROOT / "tests")] == list(fault.tests)


def test_there_are_forty_faults_or_more_with_names_of_their_own():
    assert len(FAULTS) >= 40
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1
