"""Matrices as pictures: prompts and weights."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from icrl_flax.attention.weights import Effective, embed

_VLAG = sns.color_palette("vlag", as_cmap=True)
BLUE_WHITE_RED = LinearSegmentedColormap.from_list(
    "blue white red",
    [_VLAG(0.0), _VLAG(0.25), (1, 1, 1, 1), _VLAG(0.75), _VLAG(1.0)],
    N=257,  # odd, so that one of its colours is white
)
"""Seaborn's vlag, with white in its middle instead of a grey."""


def heat_map(
    matrix: Float[Array | np.ndarray, "rows columns"],
    axes: Axes,
    *,
    limit: float | None = None,
    **options: Any,
) -> Axes:
    """A matrix, white at zero, red above and blue below, on a symmetric scale.

    Args:
        matrix: what to draw.
        axes: where.
        limit: value of the darkest red; the largest |entry| if not given.
        options: passed on to `seaborn.heatmap`.
    """
    limit = float(np.abs(matrix).max()) if limit is None else limit
    defaults = {"square": True, "xticklabels": False, "yticklabels": False, "cbar": False}
    sns.heatmap(
        np.asarray(matrix),
        ax=axes,
        cmap=BLUE_WHITE_RED,
        vmin=-limit,
        vmax=limit,
        **{**defaults, **options},
    )
    sns.despine(ax=axes, left=False, bottom=False, top=False, right=False)
    return axes


def prompt_figure(H: Float[Array, "D columns"], rows: dict[str, int]) -> Figure:
    """A prompt as a picture: one column per transition, the parameters last.

    Args:
        H: eq. (4) or (13).
        rows: heights of the prompt's bands from the top, by name; the last ones
            belong to the parameter column.
    """
    figure, axes = plt.subplots(figsize=(6.4, 5.2))
    heat_map(H, axes, square=False, cbar=True, cbar_kws={"label": "entry"})
    top, lowest, n = 0, -np.inf, H.shape[1] - 1
    for name, height in rows.items():
        axes.axhline(top, color="0.25", lw=0.8)
        # Bands of height 1 lie closer together than their labels can.
        lowest = max(top + height / 2, lowest + H.shape[0] / 20)
        axes.text(-0.6, lowest, name, ha="right", va="center")
        top += height
    axes.axvline(n, color="0.25", lw=0.8)
    axes.set_title(f"The prompt H, {H.shape[0]} × {H.shape[1]}")
    axes.set_xticks([n / 2, n + 0.5], [f"{n} transitions", "parameters"], rotation=0)
    axes.set_xlabel("column")
    return figure


def weights_figure(letter: str, aligned: Effective, optimum: Effective, title: str) -> Figure:
    """One half of Figure 2: trained P or V beside the theory's, on the theory's scale.

    Args:
        letter: which matrix, "P" or "V".
        aligned: the trained blocks with their scale and sign undone.
        optimum: P⋆12 and V̄⋆21.
        title: what was trained.

    Raises:
        ValueError: if the letter is another one.
    """
    if letter not in ("P", "V"):
        raise ValueError(f'letter must be "P" or "V", got {letter!r}')
    p, width = optimum.P12.shape
    trained, theory = (embed(each)["PV".index(letter)] for each in (aligned, optimum))
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.9), sharex=True, sharey=True)
    names = ("trained, scale and sign aligned", "theory")
    for place, name, matrix in zip(axes, names, (trained, theory), strict=True):
        heat_map(matrix, place, limit=float(np.abs(theory).max()))
        place.axhline(p, color="0.5", lw=0.6)
        place.axvline(p, color="0.5", lw=0.6)
        place.set_title(name)
        place.set_xticks([p / 2, p + width / 2], [f"{p} context", f"{width} param."])
        place.set_yticks([p / 2, p + width / 2], [f"{p} context", f"{width} param."])
        place.tick_params(axis="y", rotation=90)
    figure.colorbar(axes[1].collections[0], ax=axes, shrink=0.8, label=f"entry of {letter}")
    figure.suptitle(f"{title}: {letter}, {p + width} × {p + width}")
    return figure
