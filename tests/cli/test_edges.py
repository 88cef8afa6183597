"""What reaches a terminal, a file or the network from outside, and what must not."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from leastcontrol import files
from leastcontrol.cli import main
from leastcontrol.cli._terminal import Table, complain, say
from leastcontrol.report import ReportError, read


def call(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(own) for own in arguments])
    return caught.value.code


def in_a_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
    )


NAMES = ("[red]a.npy", "x[/b].npy", "\x1b[31mred\x1b[0m", "a\nb", "\x9b2J")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_and_does_nothing(name, capsys):
    table = Table("file", title=name)
    table.add_row(name)
    table.show()
    say(name)
    complain(name)
    output = "".join(capsys.readouterr())
    assert not set(output) & {"\x1b", "\x9b"}
    if "\n" not in name and "\x1b" not in name and "\x9b" not in name:
        assert output.count(name) == 4


def test_an_encoding_without_a_character_is_no_reason_to_fail():
    code = """
        from leastcontrol.cli import main
        main(["train", "--alpha", "-1", "--out", "ψ"])
    """
    found = in_a_process(code, PYTHONIOENCODING="ascii")
    assert found.returncode == 2
    assert found.stderr.startswith("leastcontrol: --alpha is -1.0")
    found = in_a_process(
        'from leastcontrol.cli import main\nmain(["reproduce", "--list"])', PYTHONIOENCODING="ascii"
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", ["../x", "..", ".", "a/b", "/etc", "a\0b", "x" * 256, "", 3, None])
def test_a_name_from_data_stays_inside_its_folder(name):
    with pytest.raises(files.FileError, match="no name of something inside its own folder"):
        files.check_name(name, "The store")


def test_a_comparison_names_no_folder_outside_of_its_own(tmp_path):
    (tmp_path / "run").mkdir()
    folder = tmp_path / "comparison"
    folder.mkdir()
    values = {"command": None, "arms": [{"folder": "../run"}], "differences": []}
    files.write_json(folder / "comparison.json", values)
    with pytest.raises(ReportError, match="no name of something inside its own folder"):
        read([folder])


SEARCH = """
[train]
data = "digits"
hidden = [4]
epochs = 1
batch-size = 512
[search]
learning-rate = { low = 1e-4, high = 1e-2 }
"""


@pytest.mark.filterwarnings("ignore:Query string argument")
class TestSweep:
    @pytest.fixture(autouse=True)
    def place(self, tmp_path, monkeypatch):
        pytest.importorskip("optuna")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "sweep.toml").write_text(SEARCH, encoding="utf-8")

    @pytest.mark.parametrize(
        "store",
        [
            "postgresql://user:PASS%20WORD@localhost/x",
            "nothing://user:PASSWORD@localhost/x",
            "sqlite:////nowhere/x.db?password=PASSWORD",
        ],
    )
    def test_a_password_is_said_nowhere(self, store, tmp_path, capsys):
        assert call("sweep", "sweep.toml", "--out", "sweep", "--store", store) == 2
        error = capsys.readouterr().err
        assert "PASS" not in error
        assert "***" in error
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or b"PASS" not in path.read_bytes()

    def test_a_password_is_written_nowhere(self, tmp_path, capsys):
        store = f"sqlite:///{tmp_path}/study.db?token=PASSWORD"
        assert call("sweep", "sweep.toml", "--trials", "1", "--out", "sweep", "--store", store) == 0
        for path in (tmp_path / "sweep").rglob("*"):
            assert not path.is_file() or b"PASSWORD" not in path.read_bytes()
        assert "***" in files.read_record(tmp_path / "sweep" / "sweep.json")["command"]
        assert "PASSWORD" not in "".join(capsys.readouterr())

    @pytest.mark.parametrize("fault", ["distribution_json = '{'", "distribution_json = '[]'"])
    def test_a_damaged_store_is_one_sentence(self, fault, capsys):
        import sqlite3

        assert call("sweep", "sweep.toml", "--trials", "1", "--out", "sweep") == 0
        with sqlite3.connect("sweep/study.db") as database:
            database.execute(f"UPDATE trial_params SET {fault}")
        capsys.readouterr()
        assert call("sweep", "sweep.toml", "--trials", "2", "--out", "sweep") == 2
        error = capsys.readouterr().err
        assert error.startswith("leastcontrol: The store study.db cannot be used")
        assert error.count("\n") == 1

    def test_a_store_names_no_folder_outside_of_the_sweep(self, tmp_path, capsys):
        import optuna

        assert call("sweep", "sweep.toml", "--trials", "1", "--out", "sweep") == 0
        storage = optuna.storages.RDBStorage("sqlite:///sweep/study.db")
        (study,) = optuna.get_all_study_summaries(storage)
        loaded = optuna.load_study(study_name=study.study_name, storage=storage)
        loaded.enqueue_trial({"learning_rate": 1e-3}, user_attrs={"continues": "../../../x"})
        capsys.readouterr()
        assert call("sweep", "sweep.toml", "--trials", "2", "--out", "sweep") == 2
        assert "no name of something inside its own folder" in capsys.readouterr().err
        assert not (tmp_path.parent / "x").exists()


def test_only_the_named_address_is_listened_on():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = in_a_process(
        f"""
        from leastcontrol.training import connect
        connect("127.0.0.1:{port}", 1, 0)
        for name in ("tcp", "tcp6"):
            with open("/proc/net/" + name) as table:
                for line in table.readlines()[1:]:
                    address, own = line.split()[1].split(":")
                    if int(own, 16) == {port} and line.split()[3] == "0A":
                        print(address)
        """
    )
    assert found.returncode == 0, found.stderr
    # 127.0.0.1 as the kernel writes it, alone or inside of IPv6.
    assert set(found.stdout.split()) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert found.stdout.strip()


class TestWithoutExtras:
    def test_the_version_and_help_need_nothing(self):
        code = """
            import sys
            sys.modules["tyro"] = sys.modules["rich"] = None
            import importlib.util
            find = importlib.util.find_spec
            importlib.util.find_spec = lambda name: None if name in ("tyro", "rich") else find(name)
            from leastcontrol.cli import main
            main([{argument!r}])
        """
        for argument, status in (("--version", 0), ("--help", 0), ("train", 2)):
            found = in_a_process(code.format(argument=argument))
            assert found.returncode == status, found.stderr
            assert ("leastcontrol " in found.stdout) == (status == 0)

    def test_a_report_of_nothing_is_refused(self, capsys):
        assert call("report") == 2
        assert "report has no runs to show" in capsys.readouterr().err

    def test_a_report_is_refused_before_it_works_for_a_minute(self, capsys, monkeypatch, tmp_path):
        from leastcontrol.cli import _arguments

        monkeypatch.setattr(_arguments, "find_spec", lambda name: None)
        assert call("report", tmp_path) == 2
        assert "pip install 'leastcontrol[plot]'" in capsys.readouterr().err


def test_what_readme_shows_comes_with_the_training_extra():
    import tomllib
    from pathlib import Path

    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    train = tomllib.loads(text)["project"]["optional-dependencies"]["train"]
    assert any("plot" in own for own in train), json.dumps(train)
