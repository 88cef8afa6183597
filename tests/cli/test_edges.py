"""Where the library meets what it did not make: names, passwords, terminals, other machines."""

import ast
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import pytest

from leastcontrol import _names, report
from leastcontrol.cli import main
from leastcontrol.cli._console import complain, prepare, say, tell
from leastcontrol.cli._display import Table, Work

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "pA55/w@rd"
QUOTED = "pA55%2Fw%40rd"


@pytest.fixture
def call(capsys):
    """Calls the command line; returns exit status, standard output and standard error."""

    def calling(*arguments):
        with pytest.raises(SystemExit) as caught, jax.enable_x64(False):
            main([str(argument) for argument in arguments])
        code = caught.value.code
        return (0 if code is None else code, *capsys.readouterr())

    return calling


def is_one_sentence(error):
    return error.startswith("leastcontrol: ") and error.endswith(".\n") and error.count("\n") == 1


# --- names that files give ------------------------------------------------------------------------

LEADING_OUT = ["../x", "../../x", "/x", "a/b", "a\\b", "..", ".", "", "a\0b", "é" * 128, "\ud800"]


@pytest.mark.parametrize("name", [*LEADING_OUT, 7, None, ["x"], "out", "circle"])
def test_a_name_leads_nowhere_but_into_its_folder(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "out").symlink_to(tmp_path)
    (tmp_path / "folder" / "circle").symlink_to("circle")
    with pytest.raises(ValueError, match=r"name|path|link|leads nowhere"):
        _names.inside(tmp_path / "folder", name)


@pytest.mark.parametrize("name", ["a", "..a", "é" * 127, "[red]", "-x", "in"])
def test_a_name_in_its_folder_is_a_place(name, tmp_path):
    (tmp_path / "in").symlink_to("other")
    assert _names.inside(tmp_path, name) == tmp_path / name


def run_folder(folder, **config):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["../run", "link", 3])
def test_a_comparison_shows_no_runs_outside_of_its_folder(name, tmp_path):
    run_folder(tmp_path / "run", seed=0)
    folder = tmp_path / "comparison"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "run")
    values = {"command": None, "arms": [{"folder": name}], "differences": []}
    (folder / "comparison.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(report.ReportError, match=r"comparison.json names a folder that is not one"):
        report.read([folder])


@pytest.mark.parametrize("seeds", [["0/../../x", 1], [0, "<b>"], ["<b>"], [[0]], [True, 2]])
def test_a_run_has_no_seeds_that_are_paths(seeds, tmp_path):
    run_folder(tmp_path / "run", seeds=seeds)
    with pytest.raises(report.ReportError, match="not whole numbers"):
        report.read([tmp_path / "run"])


@pytest.fixture
def store(tmp_path):
    """A sweep of one trial that is given a folder by its store, and the file of that."""
    optuna = pytest.importorskip("optuna")
    from leastcontrol.runs import sweep
    from leastcontrol.runs.sweep_config import Range, SweepConfig

    config = SweepConfig(
        {"rule": "backpropagation", "hidden": (4,), "epochs": 1},
        {"learning_rate": Range(1e-3, 1e-1, True)},
    )

    def hostile(attribute, name, state):
        url = f"sqlite:///{tmp_path / 'study.db'}"
        study = sweep._study(config, url)
        params, attributes = {"learning_rate": 0.01}, {attribute: name}
        if state == "waiting":
            study.enqueue_trial(params, user_attrs=attributes)
        else:
            trial = study.ask(sweep._distributions(config))
            trial.set_user_attr(attribute, name)
            if state == "finished":
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return lambda: sweep.sweep(config, tmp_path / "sweep" / "out", trials=1, store=url)

    return hostile


@pytest.mark.parametrize(
    ("attribute", "state"),
    [("folder", "running"), ("folder", "finished"), ("continues", "waiting")],
)
def test_a_store_names_no_folder_outside_of_its_sweep(attribute, state, store, tmp_path):
    from leastcontrol.runs.options import ConfigError

    victim = tmp_path / "sweep" / "victim"
    victim.mkdir(parents=True)
    run = store(attribute, "../../victim", state)
    with pytest.raises(ConfigError, match=r"names for trial 0 .*'../../victim' is a path"):
        run()
    assert list(victim.iterdir()) == []


# --- passwords ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:se@cr:et/x?y@h:1/db?sslmode=a", "postgresql://u:***@h:1/db?sslmode=***"),
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?user=***&password=***"),
        ("--store=mysql+pymysql://u:secret@h/db", "--store=mysql+pymysql://u:***@h/db"),
        ("mssql+pyodbc://?odbc_connect=PWD%3Dsecret", "mssql+pyodbc://?odbc_connect=***"),
        ("postgresql:u:secret@h", "postgresql:***@h"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("sqlite:////home/a:b@c/study.db", "sqlite:////home/a:b@c/study.db"),
        ("study.db", "study.db"),
    ],
)
def test_an_address_is_shown_without_its_password(address, shown):
    assert _names.hide_password(address) == shown


def test_addresses_among_words_are_shown_without_their_passwords():
    said = "sweep a --store 'postgresql://u:se cret@h/db?a=b' --out postgresql://u:secret@h x@y"
    assert _names.without_passwords(said) == (
        "sweep a --store 'postgresql://u:***@h/db?a=***' --out postgresql://u:***@h x@y"
    )


@pytest.fixture
def database(tmp_path, monkeypatch):
    """Stands for a database server: whatever its address, it is a file."""
    optuna = pytest.importorskip("optuna")
    asked = []

    class Server(optuna.storages.RDBStorage):
        def __init__(self, url, **_):
            asked.append(url)
            super().__init__(f"sqlite:///{tmp_path / 'server.db'}")

    monkeypatch.setattr(optuna.storages, "RDBStorage", Server)
    return asked


@pytest.mark.slow
def test_a_sweep_keeps_and_says_no_password(database, call, tmp_path):
    (tmp_path / "sweep.toml").write_text(
        '[train]\nrule = "backpropagation"\nepochs = 1\n[search]\nhidden = [[4], [5]]\n',
        encoding="utf-8",
    )
    store = f"postgresql://u:{QUOTED}@h/db?passfile=/home/pA55"
    words = ["sweep", tmp_path / "sweep.toml", "--out", tmp_path / "out", "--store", store]
    status, *said = call(*words, "--trials", "1")
    assert status == 0, said
    # And the same command goes on, for the password is given again.
    status, *more = call(*words, "--trials", "2")
    assert status == 0, more
    assert database == [store, store]
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any(b"postgresql://u:***@h/db?passfile=***" in content for content in written)
    assert not any(b"pA55" in content for content in written)
    assert not any("pA55" in text for text in (*said, *more))


def test_a_report_shows_no_password_that_an_older_run_kept(tmp_path):
    folder = run_folder(tmp_path / "run", seed=0)
    command = f"leastcontrol sweep a --store postgresql://u:{QUOTED}@h/db"
    (folder / "summary.json").write_text(json.dumps({"command": command}), encoding="utf-8")
    runs, _ = report.read([folder])
    page = report.page(runs, [], [])
    assert "pA55" not in page
    assert "postgresql://u:***@h/db" in page


@pytest.mark.parametrize(
    "fault",
    [
        'could not translate host name "rd@h" to address',
        f"FATAL: no user with {PASSWORD}",
        f"invalid dsn: postgresql://u:{QUOTED}@h/db",
    ],
)
def test_no_driver_says_a_password(fault, call, tmp_path, monkeypatch):
    optuna = pytest.importorskip("optuna")

    def storage(*_, **__):
        raise optuna.exceptions.StorageInternalError(fault)

    monkeypatch.setattr(optuna.storages, "RDBStorage", storage)
    (tmp_path / "sweep.toml").write_text("[search]\nhidden = [[4], [5]]\n", encoding="utf-8")
    words = ["sweep", tmp_path / "sweep.toml", "--out", tmp_path / "out", "--store"]
    status, _, error = call(*words, f"postgresql://u:{QUOTED}@h/db")
    assert status == 2
    assert is_one_sentence(error)
    assert "postgresql://u:***@h/db cannot be used (StorageInternalError)" in error


def test_a_wrong_option_beside_an_address_says_no_password(call):
    address = f"postgresql://{'u' * 60}:{'secret' * 3}@h/db"
    status, out, error = call("sweep", "a", "--stor", address)
    assert status == 2
    assert "secret" not in re.sub(r"\s", "", out + error)
    assert ":***@h/db" in error


@pytest.mark.parametrize("place", ["h:port/db", "h/db", "h/db?nonsense=secret"])
def test_an_address_that_cannot_be_used_is_one_sentence(place, call, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "sweep.toml").write_text("[search]\nhidden = [[4], [5]]\n", encoding="utf-8")
    for scheme in ("postgresql", "sqlite", "nothing"):
        words = ["sweep", tmp_path / "sweep.toml", "--out", tmp_path / "out", "--store"]
        status, _, error = call(*words, f"{scheme}://u:secret@{place}")
        assert status == 2
        assert is_one_sentence(error)
        assert "secret" not in error


# --- what is shown --------------------------------------------------------------------------------

HOSTILE = "[red]a [/b] :smile: \x1b[2J\x9b2J\x07\u202e$x$ \udcff"
SHOWN = r"[red]a [/b] :smile: \x1b[2J\x9b2J\x07\u202e$x$ \udcff"


@pytest.mark.parametrize("where", ["say", "tell", "complain", "cell", "heading", "title", "work"])
def test_words_are_shown_as_they_are_and_steer_no_terminal(where, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    if where in ("cell", "heading", "title"):
        heading = HOSTILE if where == "heading" else "name" * 20
        table = Table(heading, title=HOSTILE if where == "title" else None)
        table.add_row(HOSTILE if where == "cell" else "value")
        table.show()
    elif where == "work":
        with Work() as work:
            work.at(HOSTILE)
            work.tell(HOSTILE)
            work.download(HOSTILE, 1, 2)
    else:
        {"say": say, "tell": tell, "complain": complain}[where](HOSTILE)
    out, error = capsys.readouterr()
    assert SHOWN in out + error
    assert "\x1b" not in out + error


def test_work_in_progress_is_described_in_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    work = Work()
    work.at(HOSTILE)
    shown = work.display
    assert SHOWN in "".join(segment.text for segment in shown.console.render(shown))


def test_nothing_of_the_command_line_reaches_a_terminal_by_another_way():
    for path in sorted((ROOT / "leastcontrol").rglob("*.py")):
        if path.parent.name == "cli" and path.name in ("_console.py", "_display.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("print", "sys.stdout.write"), path
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich"):
                # The parts of a display hold no words from elsewhere.
                assert node.module == "rich.progress", path


def test_a_wrong_option_steers_no_terminal(call):
    status, out, error = call("train", "--hiden\x1b[2J", "\x9b2J")
    assert status == 2
    assert r"--hiden\x1b[2J" in error
    assert not {"\x1b", "\x9b"} & set(out + error)


def in_plain_characters(code, *arguments):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        env=environment,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, b"usage: leastcontrol"),
        (["train", "--hiden", "ψ"], 2, b"--hiden"),
        pytest.param(["report", "ψ"], 2, rb"\u03c8 is not a run folder", marks=pytest.mark.slow),
        pytest.param(["reproduce", "--list"], 0, b"+/-", marks=pytest.mark.slow),
    ],
)
def test_a_terminal_that_knows_few_characters_is_no_fault(arguments, status, said):
    code = "from leastcontrol.cli import main; main()"
    done = in_plain_characters(code, *arguments)
    assert (done.returncode, b"Traceback" in done.stderr) == (status, False), done.stderr
    assert said in done.stdout + done.stderr


def test_a_table_is_shown_where_few_characters_are_known():
    code = (
        "from leastcontrol.cli._console import prepare\n"
        "from leastcontrol.cli._display import Table\n"
        "prepare()\n"
        "table = Table('‖ψ‖', title='a – b')\n"
        "table.add_row('1 ± 2')\n"
        "table.show()\n"
    )
    done = in_plain_characters(code)
    assert done.returncode == 0, done.stderr
    for words in (rb"||\u03c8||", b"a - b", b"1 +/- 2"):
        assert words in done.stdout


def test_outputs_of_other_kinds_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    prepare()
    say("ψ")
    assert sys.stdout.getvalue() == "ψ\n"


@pytest.mark.slow
def test_a_page_shows_every_name_as_it_is(tmp_path):
    name = '<b onclick="x">&\x1b[2J\udcff'
    folder = run_folder(tmp_path / name, seed=0, **{"<i>": "<u>\x1b"})
    places = {"<em>": 1.0}
    row = dict.fromkeys(report._runs.EPOCH_FIGURES, 1.0)
    row |= {"validation": {"accuracy": 0.5}, "diagnostics": {"margin": places, "control": places}}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    summary = {"command": "<s>", "commit": "<s>", "versions": {"<s>": "<s>"}}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    runs, comparisons = report.read([folder])
    page = report.page(runs, comparisons, report.figures(runs))
    page.encode()
    assert not re.search(r"<(b|i|u|s|em)\b|[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)
    assert r"&lt;b onclick=&#34;x&#34;&gt;&amp;\x1b[2J\udcff" in page


# --- other machines -------------------------------------------------------------------------------

LISTEN = """
import sys, time
from leastcontrol.training import connect
connect(sys.argv[1], 1, 0, timeout=30)
print(flush=True)
time.sleep(60)
"""


def listening(process):
    """Returns addresses and ports on which a process listens, in the kernel's hexadecimal."""
    sockets = set()
    for entry in os.scandir(f"/proc/{process}/fd"):
        sockets |= set(re.findall(r"^socket:\[(\d+)\]$", os.readlink(entry.path)))
    endpoints = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{process}/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            columns = line.split()
            if columns[3] == "0A" and columns[9] in sockets:
                endpoints.add(tuple(columns[1].split(":")))
    return endpoints


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="the kernel tells no sockets")
def test_a_coordinator_listens_where_it_is_named_alone(free_port):
    command = [sys.executable, "-c", LISTEN, f"localhost:{free_port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout.readline() == b"\n"
            endpoints = listening(process.pid)
        finally:
            process.kill()
    at_port = {address for address, port in endpoints if int(port, 16) == free_port}
    # 127.0.0.1, alone and as it is written among the addresses of version 6, and ::1.
    local = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert at_port
    assert at_port <= local


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


# --- before anything works ------------------------------------------------------------------------


def test_the_version_is_told(call):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert call("--version") == (0, f"leastcontrol {project['version']}\n", "")


@pytest.mark.parametrize("missing", ["tyro", "rich"])
def test_help_and_version_need_nothing(missing, call, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    for arguments in (["--help"], ["-h"], ["train", "--help"]):
        status, out, error = call(*arguments)
        assert (status, error) == (0, "")
        assert "usage: leastcontrol VERB" in out
        assert "pip install 'leastcontrol[cli]'" in out
    assert call("--version")[0] == 0
    status, out, error = call("train")
    assert (status, out) == (2, "")
    assert is_one_sentence(error)


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["report", "run"], "matplotlib", "plot"),
        (["represent", "--out", "run"], "matplotlib", "train"),
        (["represent", "--out", "run"], "PIL", "train"),
        (["train", "--out", "run", "--tensorboard"], "tensorboardX", "tensorboard"),
    ],
)
def test_what_is_missing_is_said_before_the_work(arguments, missing, extra, call, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    status, _, error = call(*arguments)
    assert status == 2
    assert is_one_sentence(error)
    assert f"{missing}: run pip install 'leastcontrol[{extra}]'" in error


def test_a_report_needs_a_folder(call):
    status, _, error = call("report")
    assert status == 2
    assert error == "leastcontrol: report has no folders: write report DIR.\n"


def test_the_oldest_releases_are_read_from_the_project():
    floors = runpy.run_path(str(ROOT / ".ci" / "floors.py"))["floors"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = floors(project, "train")
    named = " ".join([*project["dependencies"], *project["optional-dependencies"]["cli"]])
    assert all(f"{name}>={release}" in named for name, release in oldest.items() if name in named)
    # What the commands that the README shows need besides.
    assert {"jax", "scipy", "tyro", "rich", "matplotlib", "pillow", "scikit-learn"} <= set(oldest)
    with pytest.raises(ValueError, match="jax names no oldest release"):
        floors({**project, "dependencies": ["jax"]}, "train")
