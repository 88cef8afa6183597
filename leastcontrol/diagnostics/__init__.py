"""How good the feedback is: figures that no rule needs and that say why one learns.

A diagnostic is a function of a system, of a batch at the states that it is given, and of what is to
be judged; it returns a number for each sample. It computes with derivatives that the rules that it
judges do without.
"""

from ._column_space import column_space_condition as column_space_condition
