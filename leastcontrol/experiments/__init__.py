"""Experiments by name, and what is checked before one trusts them.

* `config`: `RunConfig`, one training run in the words of the command line, and the checks of those
  words. It imports nothing heavy, so that help and mistakes are answered at once.
* `measures`: what a training is judged by, and how it is shown.
* `running`: from a configuration to a run folder, and from a run folder to figures.
* `comparison`: rules side by side as paired trials.
* `registry`: the papers' tables and figures by name, with what the papers report (`expectations`);
  `reproduction`: runs them and judges.
* `sweep`: searches for options by the validation split; `sweep_config`, `config_file`: what a sweep
  and a training read of TOML files.
* `represent`: pictures as implicit representations, with figures; `represent_config`: its options.
* `models`: a trained system as one file, and its predictions.
* `inspection`: one sample of a finished run on its way to rest.
* `tables`: the papers' tables as configurations with their expected numbers.
* `bench`, `bench_config`: what `leastcontrol bench` measures, and its options; `bench_tables`: the
  tables of its rows in the documentation.
* `digits`: the comparison behind `make train`.
* `_verification`, `_vectors`: what `leastcontrol verify` checks.
"""
