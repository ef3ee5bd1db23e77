"""Figures of the book, drawn from plain arrays. Needs the `book` extra."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icrl_flax.attention.weights import Effective, embed

PALETTE = sns.color_palette("colorblind")
DIVERGING = "vlag"


def theme() -> None:
    """One look for every figure: seaborn's, colour-blind safe, on a white ground."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.9)
    plt.rcParams.update(
        {
            "axes.titlelocation": "left",
            "axes.titlesize": "medium",
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
        }
    )


def heat_map(
    matrix: Float[Array, "rows columns"],
    axes: Axes,
    *,
    limit: float | None = None,
    **options: Any,
) -> Axes:
    """A matrix, pale at zero, red above and blue below, on a symmetric scale.

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
        cmap=DIVERGING,
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


def weights_figure(aligned: Effective, optimum: Effective, title: str) -> Figure:
    """Figure 2: trained P and V beside the theory's, on the theory's scale.

    Args:
        aligned: the trained blocks with their scale and sign undone.
        optimum: P⋆12 and V̄⋆21.
        title: what was trained.
    """
    p, width = optimum.P12.shape
    D = p + width
    figure, axes = plt.subplots(2, 2, figsize=(7.6, 7.2), sharex=True, sharey=True)
    columns = (("trained, scale and sign aligned", aligned), ("theory", optimum))
    limits = [float(np.abs(matrix).max()) for matrix in embed(optimum)]
    for column, (name, effective) in enumerate(columns):
        for row, (letter, matrix) in enumerate(zip("PV", embed(effective), strict=True)):
            place = axes[row, column]
            heat_map(
                matrix,
                place,
                limit=limits[row],
                cbar=column == 1,
                cbar_kws={"shrink": 0.8, "label": f"entry of {letter}"},
            )
            place.axhline(p, color="0.5", lw=0.6)
            place.axvline(p, color="0.5", lw=0.6)
            place.set_title(f"{letter}, {name}")
            place.set_xticks([p / 2, p + width / 2], [f"{p} context", f"{width} param."])
            place.set_yticks([p / 2, p + width / 2], [f"{p} context", f"{width} param."])
            place.tick_params(axis="y", rotation=90)
    figure.suptitle(f"{title}: P and V, {D} × {D}")
    return figure


def main_result_figure(
    aligned: Effective, optimum: Effective, losses: dict[str, Float[np.ndarray, " updates"]]
) -> Figure:
    """SARSA's trained P, the theory's, and the training losses, side by side.

    Args:
        aligned: the trained blocks with their scale and sign undone.
        optimum: P⋆12 and V̄⋆21.
        losses: one float per update, by the curve's name.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), width_ratios=(1, 1, 1.5))
    for axes, name, effective in (
        (left, "P after training on SARSA", aligned),
        (middle, "P of Theorem 3.1", optimum),
    ):
        P, _ = embed(effective)
        heat_map(P, axes, limit=1.0)
        axes.set(title=name, xlabel="column", ylabel="row")
    draw_losses(losses, right)
    updates = f"{max(map(len, losses.values())):,}".replace(",", " ")
    right.set_title(f"Training, {updates} updates")
    return figure


def draw_losses(
    losses: dict[str, Float[np.ndarray, " updates"]], axes: Axes, bins: int = 250
) -> None:
    """Training losses against update: median and 5–95 % band of each bin.

    Args:
        losses: one float per update, by the curve's name.
        axes: where.
        bins: how many bins share the run.
    """
    styles = ("-", "--", ":", "-.")
    for index, (name, values) in enumerate(losses.items()):
        per_bin = max(1, len(values) // bins)
        binned = values[: len(values) // per_bin * per_bin].reshape(-1, per_bin)
        middle = (np.arange(len(binned)) + 0.5) * per_bin
        low, median, high = np.quantile(binned, [0.05, 0.5, 0.95], axis=1)
        colour = PALETTE[index % len(PALETTE)]
        axes.plot(middle, median, styles[index % len(styles)], color=colour, label=name)
        axes.fill_between(middle, low, high, color=colour, alpha=0.25, lw=0)
    axes.set(yscale="log", xlabel="update", ylabel="loss ½‖TF − teacher‖²")
    axes.margins(x=0)
    if len(losses) > 1:
        axes.legend(frameon=False)
    sns.despine(ax=axes)


def loss_figure(
    losses: dict[str, Float[np.ndarray, " updates"]],
    title: str,
    schedule: Float[np.ndarray, " updates"] | None = None,
) -> Figure:
    """Figure 4: training loss against update, on a logarithmic axis.

    Args:
        losses: one float per update, by the curve's name.
        title: what was trained.
        schedule: learning rate of each update; its square is drawn too, scaled
            to meet the last median of the last curve.
    """
    figure, axes = plt.subplots(figsize=(7, 3.8))
    draw_losses(losses, axes)
    if schedule is not None:
        update, median = map(np.asarray, axes.lines[-1].get_data())
        square = schedule[update.astype(int)] ** 2
        square *= median[-1] / square[-1]
        axes.plot(update, square, "k:", lw=1, label="(learning rate)², scaled")
        axes.legend(frameon=False)
    axes.set_title(title)
    return figure
