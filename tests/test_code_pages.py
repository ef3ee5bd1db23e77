"""What the commands print can be printed everywhere: on any code page, and to the end."""

import io
import re
import subprocess
import sys

import pytest
from own_process import COMMAND, environment

from icrl_flax import cli
from icrl_flax.rules import discover

COMMANDS = [[], ["train"], *(["train", name] for name in discover())]
COMMANDS += [["evaluate"], ["evaluate", "--family=sparse"], ["verify"], ["sweep"]]
ENCODINGS = ["cp1252", "ascii", "cp437", "utf-8"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_help_is_printed_on_every_code_page(encoding, monkeypatch):
    for command in COMMANDS:
        page = io.TextIOWrapper(io.BytesIO(), encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", page)
            with pytest.raises(SystemExit) as stopped:
                cli.main([*command, "--help"])
        assert stopped.value.code == 0
        printed = page.buffer.getvalue().decode(encoding)
        assert printed.startswith("usage: icrl_flax")
        assert len(printed.splitlines()) > 5
        if command == ["train", "sarsa"]:
            greek = encoding in ("cp437", "utf-8")
            assert ("step size α > 0." if greek else "step size alpha > 0.") in printed
            assert ("θ_eff alone" if encoding == "utf-8" else "theta_eff alone") in printed


def test_no_help_shows_more_than_first_sentences(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            cli.main([*command, "--help"])
        printed = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
        for passage in ("Sutton and Barto", "Raises", "p = 2d + 1", "T = 1000"):
            assert passage not in printed


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_training_ends_well_on_a_code_page(encoding, tmp_path):
    out = tmp_path / "räum/µ"
    done = subprocess.run(
        [*COMMAND, "train", "sarsa", "--out", str(out), "--d=2", "--n-states=3", "--mdps=200"],
        env=environment(PYTHONIOENCODING=encoding),
        capture_output=True,
        check=False,
    )
    printed = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr
    assert ("µs" if encoding == "cp1252" else " us") in printed
    assert "wrote" in printed.splitlines()[-1]
    assert done.stderr.decode(encoding)


def test_help_whose_reader_has_gone(tmp_path):
    """As in `… --help | head -1`."""
    with subprocess.Popen(
        [*COMMAND, "train", "--help"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert process.returncode == 2
    assert errors == "error: standard output: Broken pipe\n"


def test_signs():
    """What no code page need have."""
    wanted = {
        "α²": "alpha^2",
        "w̃": "w",
        "V̄⋆21": "V*21",
        "S·A": "S*A",
        "7 µs": "7 us",
        "θ": "theta",
    }
    wanted |= {"wᵀφ": "wTphi", "Δ": "delta", "½δ²": "1/2delta^2", "n ≥ 1": "n >= 1", "漢": "?"}
    cli.console.accept_any_code_page()
    for text, plain in wanted.items():
        assert text.encode("ascii", "icrl_flax.plain").decode() == plain
