"""When least control is worth it: paired trials of several rules under seven conditions.

* `streams`: the batches that a network sees, and which answers are right when it is asked.
* `measures`: what is read from a training.
* `arms`: the rules that are compared, their optimisers and the learning rates to choose from.
* `regimes`: the conditions, as a list.
* `training`: the trainings of all seeds and learning rates of an arm, as one compiled program.
* `verdicts`: paired differences, and the rule by which they are judged.
* `running`: tunes and tests every arm under every condition, once, and reads what was measured.
* `experiment`: the name `regimes` of `leastcontrol reproduce`.
"""
