"""What a notebook's cell returns is written for readers."""

import re

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from icrl_flax.plots import numbers

RAW = re.compile(r"np\.\w+\(|\bArray\(|\bdtype[:=]|\d\.\d{12,}")


@pytest.fixture
def shell(monkeypatch):
    """A kernel's shell, and the options of NumPy and pandas as they were."""
    options = np.get_printoptions()
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()
    np.set_printoptions(**options)
    pd.reset_option("display.float_format")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "0.333333"),
        (np.float64(2e-12) / 3, "6.66667e-13"),
        ((np.float32(0.1), np.int64(3), np.bool_(True)), "(0.1, 3, True)"),
        ({"a": np.float64(1 / 3), "b": [1 / 7]}, "{'a': 0.333333, 'b': [0.142857]}"),
        (np.array([1 / 3, 2.0], np.float32), "[0.333333 2.      ]"),
        (jnp.array([1, 2]), "[1 2]"),
    ],
)
def test_values(shell, value, text):
    numbers.readable_numbers()
    shown, _ = shell.display_formatter.format(value)
    assert shown["text/plain"] == text
    assert not RAW.search(shown["text/plain"])


def test_tables(shell):
    numbers.readable_numbers()
    series = pd.Series([1 / 3, 2e-9 / 7], ["a", "b"], name="share")
    for value in (series, series.to_frame()):
        shown, _ = shell.display_formatter.format(value)
        assert "0.333333" in shown["text/html"]
        assert "2.85714e-10" in shown["text/html"]
        assert not RAW.search(shown["text/html"])
