"""Turns the formulas of docstrings into TeX.

Docstrings write formulas in Unicode, so that `help` shows what a person can read. Lines that hold
nothing but a formula, indented like code, are typeset on the site: `tex` rewrites what Unicode has
a sign for and TeX a word, and keeps the rest. A line with other words than functions stays code.
"""

import re
import unicodedata

WORDS = {
    "∂": r"\partial ",
    "∇": r"\nabla ",
    "−": "-",
    "½": r"\tfrac{1}{2}",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≈": r"\approx ",
    "∝": r"\propto ",
    "·": r"\cdot ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "→": r"\to ",
    "∞": r"\infty ",
    "⊙": r"\odot ",
    "×": r"\times ",
    "′": "'",
    "…": r"\dots ",
    "√": r"\sqrt ",
    "∫": r"\int ",
    "Σ": r"\sum ",
}
GREEK = {
    sign: f"\\{name} "
    for sign, name in zip(
        "αβγδεζηθικλμνξπρστφχψωΔΓΛΦΨΩ",
        "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma "
        "tau varphi chi psi omega Delta Gamma Lambda Phi Psi Omega".split(),
        strict=True,
    )
}
RAISED = {
    "²": "2",
    "³": "3",
    "ᵀ": r"\top",
    "⁻": "-",
    "¹": "1",
    "ᵏ": "k",
    "ⁱ": "i",
    "⋆": r"\star",
    "*": r"\star",
}
LOWERED = {"₀": "0", "₁": "1", "₂": "2", "₃": "3", "₋": "-", "₊": "+"}
ACCENTS = {"\u0307": r"\dot", "\u0304": r"\bar"}
FUNCTIONS = {"min", "max", "log", "exp", "tanh", "cos", "sin"}
OPERATORS = {"softmax", "logit", "diag", "tr"}
SIGNS = set(WORDS) - {"−", "·", "′", "…"} | set(GREEK) | set("ᵀ²‖⋆")


def typeset_blocks(docstring: str) -> str:
    """Returns a docstring whose indented blocks of formulas alone stand between dollar signs."""
    return re.sub(r"(?m)(?<=\n\n)(?: {4}\S.*(?:\n|$))+", _typeset_block, docstring)


def _typeset_block(block: re.Match[str]) -> str:
    lines = [line.strip() for line in block[0].splitlines()]
    if not all(map(is_formula, lines)):
        return block[0]
    return "\n".join(f"$$\n{tex(line)}\n$$\n" for line in lines)


def is_formula(line: str) -> bool:
    """Returns whether a line is a formula: it has signs of mathematics, and no words or code."""
    plain = unicodedata.normalize("NFD", line)
    if not SIGNS & set(plain) or not re.search(r"[=∝≈≤≥]", plain):
        return False
    if re.search(r"[`\"#|@]|\*\*|   $|^[*-] ", plain):
        return False
    words = re.findall(r"[A-Za-z]{3,}", plain)
    return all(word in FUNCTIONS | OPERATORS for word in words) and not re.search(
        r"\w_[a-z]{2,}", plain
    )


def tex(line: str) -> str:
    """Returns a formula in TeX."""
    text = re.sub(r" +=", " =", unicodedata.normalize("NFD", line))
    parts: list[str] = []
    norms = place = 0
    while place < len(text):
        sign = text[place]
        if text[place + 1 : place + 2] in ACCENTS and text[place + 1 : place + 2]:
            parts.append(f"{ACCENTS[text[place + 1]]}{{{GREEK.get(sign, sign)}}}")
            place += 2
        elif sign == "‖":
            parts.append((r"\lVert ", r"\rVert ")[norms % 2])
            norms += 1
            place += 1
        elif script := _script(text, place):
            written, place = script
            parts.append(written)
        elif word := re.match(r"[A-Za-z]+", text[place:]):
            parts.append(_word(word[0]))
            place += len(word[0])
        elif gap := re.match(r" {3,}", text[place:]):
            parts.append(r"\qquad ")
            place += len(gap[0])
        else:
            parts.append(WORDS.get(sign) or GREEK.get(sign) or sign)
            place += 1
    return re.sub(r" +", " ", "".join(parts)).strip()


def _word(word: str) -> str:
    if word in FUNCTIONS:
        return f"\\{word} "
    return f"\\operatorname{{{word}}} " if word in OPERATORS else word


def _script(text: str, place: int) -> tuple[str, int] | None:
    """Returns the script at a place, raised or lowered, and the place behind it."""
    for mark, signs in (("^", RAISED), ("_", LOWERED)):
        behind = place
        while behind < len(text) and text[behind] in signs:
            behind += 1
        if behind > place:
            return f"{mark}{{{''.join(signs[sign] for sign in text[place:behind])}}}", behind
    if text[place] not in "_^":
        return None
    group = re.match(r"\{([^}]*)\}|(−?\w)", text[place + 1 :])
    if group is None:
        return rf"\{text[place]}", place + 1
    inner = group[1] if group[1] is not None else group[2]
    return f"{text[place]}{{{tex(inner)}}}", place + 1 + len(group[0])
