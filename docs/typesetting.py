"""Typesets the formulas of the site as MathML, when it is built.

Formulas are written in TeX between dollar signs, which the extension arithmatex finds. The reader's
browser needs no script and no font for them, and nothing is fetched.
"""

import re
from html import unescape

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
# Signs that MathML takes for operators with space around them, or that stretch on one side alone.
SIGNS = {
    "<mo>&#x02202;</mo>": '<mi mathvariant="normal">&#x02202;</mi>',
    "<mo>&#x02207;</mo>": '<mi mathvariant="normal">&#x02207;</mi>',
    "<mo>&#x02016;</mo>": '<mo stretchy="false" lspace="0" rspace="0">&#x02016;</mo>',
    "<mo>&#x0002F;</mo>": '<mo lspace="0" rspace="0">&#x0002F;</mo>',
    "<mo>/</mo>": '<mo lspace="0" rspace="0">/</mo>',
}


def typeset(page: str) -> str:
    """Returns the HTML of a page with MathML in the place of TeX."""
    page = INLINE.sub(lambda match: mathml(match[1], "inline"), page)
    return DISPLAY.sub(
        lambda match: f'<div class="formula" tabindex="0">{mathml(match[1], "block")}</div>', page
    )


def mathml(tex: str, display: str) -> str:
    """Returns a formula in MathML."""
    # A transpose is a letter, and no tack.
    source = unescape(tex).strip().replace(r"\top", r"\mathsf{T}")
    formula = convert(source, display=display)
    for sign, better in SIGNS.items():
        formula = formula.replace(sign, better)
    return formula


def on_page_content(html: str, **kwargs: object) -> str:
    """Typesets what MkDocs has rendered of a page."""
    del kwargs
    return typeset(html)
