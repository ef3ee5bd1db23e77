"""How numbers look that a notebook's cell returns: for readers, not as Python writes them."""

import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

DIGITS = 6
"""Significant digits."""


def compact(number: float) -> str:
    """A number with at most six significant digits."""
    return f"{number:.{DIGITS}g}"


def readable_numbers() -> None:
    """Six digits, no names of types, and tables for series, in what cells of this kernel return.

    Values are not rounded, and what is printed explicitly is left alone. Outside of IPython
    nothing is changed but the options of NumPy and pandas.
    """
    np.set_printoptions(precision=DIGITS, legacy="1.25")  # 0.5, not np.float64(0.5)
    pd.set_option("display.float_format", compact)
    # A notebook's kernel has imported it long ago; nothing else should.
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    plain, html = formatters["text/plain"], formatters["text/html"]

    def shown(write: Any) -> Any:
        return lambda value, printer, _cycle: printer.text(write(value))

    plain.for_type(float, shown(compact))
    plain.for_type(np.floating, shown(compact))
    plain.for_type(np.float64, shown(compact))  # IPython has its own for this one
    plain.for_type(np.integer, shown(str))
    plain.for_type(np.bool_, shown(str))
    plain.for_type(np.ndarray, shown(str))
    concrete = type(jnp.zeros(()))  # which does not say that it is a jax.Array
    plain.for_type(concrete, shown(lambda value: str(np.asarray(value))))
    html.for_type(pd.Series, lambda series: series.to_frame(series.name or "").to_html())
