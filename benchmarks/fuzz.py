"""Gives the command line random arguments, configurations and damaged files, and watches it.

    python benchmarks/fuzz.py --count 2000 --json results/fuzz.json

Every case is made from the seed and its number, so that `--only NUMBER` repeats one. It has failed
where the command line raises anything but the end of its process, ends with another status than 0,
1 or 2, says anything but one sentence (or the box of the parser) after a fault, takes longer than
its time, runs code that stands in a file, or leaves a file that is half written.

Cases run in one process, and what only takes time has a stand-in: epochs of training, the
evaluation of a data set, timings, and the checks of `verify` after its files were read. Parsing,
checks, the reading and writing of files, models and their predictions, comparisons and reports are
the command line's own.
"""

import argparse
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import re
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
import types
import typing
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _origin import origin
from PIL import Image

from leastcontrol import files, training
from leastcontrol.bench import measuring as bench
from leastcontrol.cli import main
from leastcontrol.cli.verbs import VERBS
from leastcontrol.cli.verbs._configured import AbstractConfiguredVerb
from leastcontrol.runs import origin as origins
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import Choice, declared, everywhere
from leastcontrol.verify import properties
from leastcontrol.verify.vectors import read_vectors

TINY = ["--hidden", "4", "--epochs", "2", "--rule", "backpropagation"]
SECONDS = 20
# Bytes that one case may take beyond what all before it took.
MOST_MEMORY = 2**30
MARKER = "the-bomb-went-off"
UNFINISHED = re.compile(r"\..+\.\d+")
# The words of a training's choices.
CHOICES = [
    word
    for each, _ in everywhere(RunConfig)
    for word in (
        [kind.word for kind in each.words] if isinstance(each, Choice) else each.choices or ()
    )
]
SLOW_VERBS = ("represent", "sweep")
# What reads each of the files that are damaged, besides what is said for a folder.
FOLDER = (
    ["evaluate", "run"],
    ["export", "run", "--out", "out/model"],
    ["report", "run", "--out", "out/page.html"],
    ["train", *TINY, "--out", "run", "--resume"],
    ["train", *TINY, "--out", "half", "--resume"],
    ["bench", "--weights", "run"],
)
READERS = {
    "run": FOLDER,
    "half": (["train", *TINY, "--out", "half", "--resume"], ["report", "half"]),
    "pairs": (
        ["report", "pairs", "--out", "out/page.html"],
        ["compare", "--hidden", "4", "--epochs", "2", "--out", "pairs", "--resume"],
    ),
    "model": (["predict", "model", "rows.npy"], ["predict", "model", "rows.csv"]),
    "rows.npy": (["predict", "model", "rows.npy", "--json", "out/rows.json"],),
    "rows.csv": (["predict", "model", "rows.csv", "--csv", "out/rows.csv"],),
    "digit.png": (["predict", "model", "digit.png"],),
    "vector.npz": (["verify", "--vectors", "vector.npz", "--json", "out/rows.json"],),
    "mnist": (["data", "mnist", "--data-dir", "."], ["train", "--data", "mnist", "--out", "out/r"]),
    "omniglot": (["meta", "--tasks", "omniglot", "--data-dir", ".", "--out", "out/r"],),
}
WAYS = (
    *("cut", "flip", "zero", "insert", "other", "bomb", "empty", "folder", "json"),
    *("pipe", "device", "unpacking", "resealed"),
)
# Stands for a whole number that Python does not write.
DIGITS = "a number of 5000 digits"
JSON_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**64, 10**400, 0.5, -0.0, 1e308, 1e-320),
    *("", "a", "least-control", "../..", "\x00", "ψ" * 50, [], [[]], {}, {"a": 1}, [None], [1, 2]),
    *("[red]a", "x[/b]", "\x1b[31m", "x" * 300, DIGITS, [1] * 1000, {"a": DIGITS}, ["../run"]),
)
WORDS = (
    *(
        "",
        " ",
        "--",
        "-",
        "nan",
        "inf",
        "-inf",
        "0",
        "-1",
        "1",
        "2",
        "3.5",
        "1e3",
        "1e308",
        "1e-320",
    ),
    *("4294967296", "9" * 400, "None", "True", "[]", "{}", "ψ", "a b", "\n", "%s", "'", '"', "\\"),
    *("run", "half", "pairs", "model", "rows.npy", "digit.png", "missing", "missing/below", "out"),
    *("run/config.json", "out/new", "out/new.json", "localhost:1", "all", "x" * 300),
    *("[red]a.npy", "x[/b].npy", "\x1b[31m.npy", "pipe", "../run", "sqlite:///a:b@c/d"),
)


class _Hang(BaseException):
    """A case took longer than its time."""


class _Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (MARKER, "w")


# --- What stands in for work that only takes time. ---


def _figures(epoch: int) -> training.EpochMetrics:
    evaluation = training.Evaluation(0.5, 1.0, 1.0)
    numbers = {
        field.name: 1.0
        for field in dataclasses.fields(training.EpochMetrics)
        if field.default is dataclasses.MISSING
    }
    return training.EpochMetrics(
        **{**numbers, "epoch": epoch, "steps_max": 3, "validation": evaluation}
    )


def _train(
    system: Any,
    rule: Any,
    training_set: Any,
    validation: Any,
    config: training.TrainingConfig,
    *,
    seed: int,
    start: training.Trained,
    report: Any,
    **_: Any,
) -> training.Trained:
    del system, rule, training_set, validation, seed
    trained = start
    for epoch in range(len(start.metrics), min(config.epochs, 2)):
        figures = _figures(epoch + 1)
        trained = dataclasses.replace(trained, metrics=(*trained.metrics, figures))
        report(figures, trained)
    return trained


def _connect(*_: Any) -> None:
    raise training.DevicesError("Nobody is met here.")


def _meta_train(*_: Any, start: training.MetaTrained, **__: Any) -> training.MetaTrained:
    raise training.MetaTrainingError("No steps are taken here.", start)


def _stand_in() -> None:
    training.train = _train
    training.evaluate = lambda *_, **__: training.Evaluation(0.5, 1.0, 1.0)
    training.meta_train = _meta_train
    training.connect = _connect
    bench.target_probability = lambda *_: np.array(0.5)
    bench.strong_leak = lambda *_: 1.0
    bench._measured = lambda *_: []
    bench._growth = lambda *_: iter(())
    # It is imported by the verb when it is called.
    properties.verify = lambda vectors, report: read_vectors(vectors) and []
    # One process for each run, which says nothing here.
    origins.commit = lambda: None


# --- What is damaged. ---


def _templates(folder: Path) -> None:
    """Writes one good file or folder of every kind that is read."""
    os.chdir(folder)
    call(["train", *TINY, "--out", "run"])
    shutil.copytree("run", "half")
    (folder / "half" / "summary.json").unlink()
    call(["compare", "--hidden", "4", "--epochs", "2", "--out", "pairs"])
    call(["export", "run", "--out", "model"])
    generator = np.random.default_rng(0)
    rows = generator.uniform(size=(3, 64))
    np.save("rows.npy", rows)
    np.savetxt("rows.csv", rows, delimiter=",")
    pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save("digit.png")
    np.savez("vector.npz", meta=np.array(json.dumps({"rule": "bp"})), inputs=rows)
    (folder / "mnist").mkdir()
    for name, axes in (("images-idx3", (3, 28, 28)), ("labels-idx1", (3,))):
        head = bytes((0, 0, 8, len(axes))) + b"".join(n.to_bytes(4, "big") for n in axes)
        for part in ("train", "t10k"):
            path = folder / "mnist" / f"{part}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(head + bytes(int(np.prod(axes)))))
    (folder / "omniglot").mkdir()
    drawing = io.BytesIO()
    Image.new("1", (105, 105), 1).save(drawing, "PNG")
    for name in ("images_background.zip", "images_evaluation.zip"):
        with zipfile.ZipFile(folder / "omniglot" / name, "w") as archive:
            for member in ("A/character01/0001_01.png", "../../escaped.png", f"/{MARKER}"):
                archive.writestr(member, drawing.getvalue())


def _bombs(path: Path) -> Iterator[bytes]:
    """Yields pickles in the containers that a file of this kind might be unpacked from."""
    plain = pickle.dumps(_Bomb())
    objects = np.empty(1, dtype=object)
    objects[0] = _Bomb()
    array, arrays, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, objects, allow_pickle=True)
    np.savez(arrays, meta=objects, inputs=objects)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("A/character01/0001_01.png", plain)
        archive.writestr(f"../{MARKER}", plain)
    yield from (plain, array.getvalue(), arrays.getvalue(), gzip.compress(plain), packed.getvalue())
    # Behind a good head, where leaves or lines are read one by one.
    content = path.read_bytes()
    yield content[: len(content) // 2] + array.getvalue()
    yield array.getvalue() + content


def _changed(value: Any, chance: random.Random) -> Any:
    """Returns a JSON value with one part exchanged, removed or added."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(sorted(value))
        if chance.random() < 0.15:
            return {key: item for key, item in value.items() if key != name}
        if chance.random() < 0.1:
            return {**value, chance.choice(("alhpa", "", name + "s")): chance.choice(JSON_VALUES)}
        return {**value, name: _changed(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], _changed(value[place], chance), *value[place + 1 :]]
    if isinstance(value, str) and chance.random() < 0.5:
        return chance.choice(CHOICES)
    return chance.choice(JSON_VALUES)


def _written(value: Any, chance: random.Random) -> str:
    """Returns a JSON value as text, often with the checksum that fits what it says now."""
    if isinstance(value, dict) and "checksum" in value and chance.random() < 0.7:
        # The checksum of what cannot be read does not matter.
        with contextlib.suppress(ValueError):
            value = files.with_checksum({n: item for n, item in value.items() if n != "checksum"})
    return json.dumps(value).replace(f'"{DIGITS}"', "9" * 5000)


def _unpacking(path: Path) -> bytes:
    """Returns a small file that unpacks to a large one, of the kind of another."""
    zeros, packed = bytes(2**28), io.BytesIO()
    if path.suffix == ".png":
        Image.new("1", (2**14, 2**13)).save(packed, "PNG")
    elif path.suffix == ".gz":
        packed.write(gzip.compress(zeros, 1))
    else:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name in ("meta.npy", "inputs.npy", "A/character01/0001_01.png"):
                archive.writestr(name, zeros)
    return packed.getvalue()


def _resealed(content: bytes, chance: random.Random) -> bytes:
    """Returns a file behind a checksum with other content, and the checksum that fits that."""
    changed = bytearray(content.partition(b"\n")[2])
    for _ in range(chance.choice((1, 1, 8))):
        changed[chance.randrange(min(len(changed), 2000))] = chance.choice(b'0987[]{}",:anx')
    return hashlib.sha256(changed).hexdigest().encode() + b"\n" + changed


def _damage(path: Path, chance: random.Random) -> str:
    """Damages a file and says how."""
    content = path.read_bytes()
    way = chance.choice(WAYS)
    if way == "json" and path.suffix in (".json", ".jsonl"):
        lines = content.decode().split("\n") if path.suffix == ".jsonl" else [content.decode()]
        place = chance.randrange(max(1, len(lines) - 1))
        value = json.loads(lines[place])
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            value = _changed(value, chance)
        if chance.random() < 0.02:
            lines[place] = "[" * 100_000
        else:
            lines[place] = _written(value, chance)
        path.write_text("\n".join(lines), encoding="utf-8")
        return way
    place = chance.randrange(len(content) + 1)
    if way == "cut":
        path.write_bytes(content[:place])
    elif way == "flip" and content:
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 8, 64))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
    elif way == "zero":
        path.write_bytes(content[:place] + bytes(len(content) - place))
    elif way == "insert":
        path.write_bytes(
            content[:place] + chance.randbytes(chance.choice((1, 9))) + content[place:]
        )
    elif way == "other":
        others = sorted(entry for entry in Path().rglob("*") if entry.is_file())
        path.write_bytes(chance.choice(others).read_bytes())
    elif way == "bomb":
        path.write_bytes(chance.choice(list(_bombs(path))))
    elif way == "folder":
        path.unlink()
        path.mkdir()
    elif way == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif way == "device":
        path.unlink()
        path.symlink_to("/dev/zero")
    elif way == "unpacking":
        path.write_bytes(_unpacking(path))
    elif way == "resealed" and content.count(b"\n") > 2:
        path.write_bytes(_resealed(content, chance))
    else:
        way = "empty"
        path.write_bytes(b"")
    return way


# --- Cases. ---


@dataclasses.dataclass(frozen=True)
class _Option:
    """One option of a verb, as the command line has it."""

    name: str
    type: Any
    default: Any
    choices: tuple[str, ...] = ()


def _options(verb: type[Any]) -> list[_Option]:
    """Returns the options of a verb, of all words."""
    if not issubclass(verb, AbstractConfiguredVerb):
        return [
            _Option(field.name, field.type, field.default) for field in dataclasses.fields(verb)
        ]
    every = [each for each, _ in everywhere(verb.kind)] + list(declared(verb.command_kind))
    options = {}
    for each in every:
        if isinstance(each, Choice):
            words = tuple(kind.word for kind in each.words)
            options[each.name] = _Option(each.name, str, each.default.word, words)
        else:
            words = tuple(each.choices or ())
            options.setdefault(each.name, _Option(each.name, each.type, each.default, words))
    return list(options.values())


def _word(option: _Option, chance: random.Random) -> str:
    """Returns a value for an option, often one of its kind."""
    if option.choices and chance.random() < 0.7:
        word = chance.choice(option.choices)
        return word if chance.random() < 0.8 else word[:-1]
    if typing.get_origin(option.type) is not types.UnionType and chance.random() < 0.3:
        default = option.default
        if isinstance(default, int | float | str) and not isinstance(default, bool):
            return str(default)
    if option.type in (int, int | None) or "int" in str(option.type):
        # Large networks and long runs are no faults, and only take time.
        return chance.choice(("1", "2", "3", "8", "0", "-1", "1.5", "x", "", "4294967296"))
    if "float" in str(option.type) and chance.random() < 0.6:
        return chance.choice(("0", "0.1", "1", "-0.5", "1e-3", "nan", "inf", "1e400", "1e-320"))
    return chance.choice(WORDS)


def _arguments(chance: random.Random) -> list[str]:
    """Returns a random command."""
    if chance.random() < 0.03:
        return [chance.choice(WORDS) for _ in range(chance.randrange(4))]
    verb = chance.choice([candidate for candidate in VERBS if candidate.verb not in SLOW_VERBS])
    arguments = [verb.verb if chance.random() < 0.98 else verb.verb[:-1]]
    options = _options(verb)
    positional = [
        candidate
        for candidate in options
        if candidate.name in ("folder", "model", "samples", "folders")
    ]
    for _ in positional:
        if chance.random() < 0.9:
            arguments.append(chance.choice(("run", "model", "rows.npy", chance.choice(WORDS))))
    if verb.verb in ("train", "compare"):
        arguments += ["--epochs", "2"]
    if chance.random() < 0.8 and any(candidate.name == "out" for candidate in options):
        arguments += ["--out", "out/new"]
    for _ in range(chance.randrange(5)):
        option = chance.choice([candidate for candidate in options if candidate not in positional])
        name = "--" + option.name.replace("_", "-")
        if option.type is bool:
            arguments.append(name)
            continue
        count = chance.choice((1, 1, 1, 1, 0, 2, 3))
        arguments += [name, *(_word(option, chance) for _ in range(count))]
    if chance.random() < 0.03:
        chance.shuffle(arguments)
    return arguments


def _case(chance: random.Random) -> tuple[str, list[str]]:
    """Makes what one case needs in the working folder; returns its kind and its arguments."""
    kind = chance.choice(("arguments", "arguments", "configuration", "file", "file"))
    if kind == "arguments":
        return kind, _arguments(chance)
    if kind == "configuration":
        values = {**json.loads(Path("run/config.json").read_text(encoding="utf-8"))}
        for _ in range(chance.choice((1, 1, 2, 3))):
            values = _changed(values, chance)
            if not isinstance(values, dict):
                break
        for folder in ("run", "half"):
            Path(folder, "config.json").write_text(_written(values, chance), encoding="utf-8")
        return kind, list(chance.choice(FOLDER))
    name = chance.choice(list(READERS))
    paths = [Path(name)]
    if paths[0].is_dir():
        paths = sorted(entry for entry in Path(name).rglob("*") if entry.is_file())
    way = _damage(path := chance.choice(paths), chance)
    return f"{way} {path}", list(chance.choice(READERS[name]))


def call(arguments: list[str]) -> tuple[int, str]:
    """Returns the exit status of a command and what it said of its faults."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
            return (0 if code is None else int(code)), said.getvalue()
    raise AssertionError("The command line ends its process, and has not.")


def _fault(arguments: list[str]) -> str | None:
    """Returns what is wrong with how a command ends; `None` where nothing is."""
    try:
        status, said = call(arguments)
    except _Hang:
        return f"takes longer than {SECONDS} s"
    except BaseException:
        return traceback.format_exc(limit=-3)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    if status not in (0, 1, 2):
        return f"ends with status {status}: {said}"
    lines = said.strip().splitlines()
    if "Traceback" in said:
        return said
    if status and "For full helptext" not in said:
        sentences = [line for line in lines if line.startswith("leastcontrol: ")]
        if len(sentences) != 1 or lines[-1] != sentences[0] or not lines[-1].endswith("."):
            return f"status {status}, and not one sentence: {said}"
    return _half_written()


def _half_written() -> str | None:
    if any(Path(root, MARKER).exists() for root in (".", "..", "/")):
        return "ran what stands in a file"
    for path in Path().rglob("*"):
        if UNFINISHED.fullmatch(path.name):
            return f"leaves {path}"
    for path in Path("out").rglob("*"):
        if path.suffix in (".json", ".jsonl") and path.is_file():
            text = path.read_text(encoding="utf-8")
            try:
                for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
                    json.loads(part)
            except ValueError:
                return f"leaves half of {path}"
    return None


def _memory() -> int:
    """Returns the bytes that this process has held at the most so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_cases(numbers: list[int], seed: int, root: Path) -> dict[str, Any]:
    """Runs cases in a folder and returns their counts and faults."""
    good, work = root / "good", root / "work"
    good.mkdir()
    _templates(good)
    statuses: Counter[str] = Counter()
    faults = []

    def hang(*_: Any) -> None:
        raise _Hang

    signal.signal(signal.SIGPROF, hang)
    signal.signal(signal.SIGALRM, hang)
    for number in numbers:
        os.chdir(root)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(good, work)
        (work / "out").mkdir()
        os.chdir(work)
        kind, arguments = _case(random.Random(f"{seed}-{number}"))
        # Of the processor's time, so that a busy machine is no hang.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        # And one for what waits without end.
        signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
        before = _memory()
        fault = _fault(arguments)
        statuses[kind.split()[0]] += 1
        if fault is None and _memory() - before > MOST_MEMORY:
            fault = f"takes {(_memory() - before) / 2**30:.2f} GiB more than all cases before"
        if fault is not None:
            faults.append({"case": number, "kind": kind, "arguments": arguments, "fault": fault})
            print(f"case {number}, {kind}: leastcontrol {shlex.join(arguments)}\n{fault}")
    os.chdir(root)
    return {"cases": len(numbers), "kinds": dict(sorted(statuses.items())), "faults": faults}


def run() -> int:
    """Runs the cases that are asked for and returns the exit status."""
    parser = argparse.ArgumentParser(description="Give the command line what is wrong at random.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one case")
    parser.add_argument("--json", type=Path, help="file for the counts and faults")
    options = parser.parse_args()
    made = origin()
    out = None if options.json is None else options.json.resolve()
    numbers = list(range(options.count)) if options.only is None else [options.only]
    began = time.perf_counter()
    _stand_in()
    with tempfile.TemporaryDirectory() as name:
        os.environ["LEASTCONTROL_DATA"] = str(Path(name) / "work")
        os.environ["LEASTCONTROL_CACHE"] = str(Path(name) / "cache")
        outcome = run_cases(numbers, options.seed, Path(name))
    print(f"{outcome['cases']} cases, {len(outcome['faults'])} faults")
    if out is not None:
        seconds = time.perf_counter() - began
        made = {"peak_gib": _memory() / 2**30, **made}
        files.write_json(out, {**outcome, "seed": options.seed, "seconds": seconds, **made})
    return 1 if outcome["faults"] else 0


if __name__ == "__main__":
    sys.exit(run())
