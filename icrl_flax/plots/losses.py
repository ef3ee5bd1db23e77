"""Losses against updates."""

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icrl_flax.attention.weights import Effective, embed
from icrl_flax.plots.bands import draw_band
from icrl_flax.plots.heat_maps import heat_map
from icrl_flax.plots.theme import PALETTE


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
        style = {"ls": styles[index % len(styles)], "color": PALETTE[index % len(PALETTE)]}
        draw_band(middle, low, median, high, axes, label=name, **style)
    axes.set(yscale="log", xlabel="update", ylabel="loss ½‖TF − teacher‖²")
    if len(losses) > 1:
        axes.legend()


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
        axes.legend()
    axes.set_title(title)
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
