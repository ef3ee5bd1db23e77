"""What the block does, as pictures: the loop that it stands in, and one step of it."""

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from icrl_flax.plots.heat_maps import heat_map
from icrl_flax.plots.theme import PALETTE


def loop_figure() -> Figure:
    """Figure 1, drawn anew: the agent acts, the window becomes a prompt, the block answers."""
    stations = {  # centre, text
        "agent": ((0.0, 1.0), "agent\nacts with $u$"),
        "MDP": ((1.6, 1.0), "MDP\n$s, a \\mapsto r, s'$"),
        "window": ((3.2, 1.0), "window\n$n$ transitions"),
        "prompt": ((3.2, 0.0), "prompt $H$\ntokens $x_i$, and $\\tilde u$"),
        "block": ((1.6, 0.0), "attention block\n$\\theta = (P, V)$, fixed"),
        "answer": ((0.0, 0.0), "answer\nnew parameters $\\hat u$"),
    }
    figure, axes = plt.subplots(figsize=(7.6, 3.0))
    for name, (centre, text) in stations.items():
        colour = PALETTE[0] if name == "block" else "0.3"
        box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": colour, "lw": 1.6}
        axes.text(*centre, text, ha="center", va="center", bbox=box, fontsize="small")
    names = list(stations)
    for start, end in zip(names, [*names[1:], names[0]], strict=True):
        a, b = (np.array(stations[each][0]) for each in (start, end))
        gap = (b - a) * np.where(np.abs(b - a) > 1, 0.36, 0.3)
        arrow = {"arrowstyle": "-|>", "color": "0.3", "lw": 1.4}
        axes.annotate("", tuple(b - gap), tuple(a + gap), arrowprops=arrow)
    axes.set(xlim=(-0.8, 4.0), ylim=(-0.5, 1.5), title="One turn of the loop is one window")
    axes.set_axis_off()
    return figure


def mechanism_figure(
    scores: Float[Array | np.ndarray, " n"],
    td_errors: Float[Array | np.ndarray, " n"],
    directions: Float[Array | np.ndarray, "n q"],
    step: Float[Array | np.ndarray, " q"],
) -> Figure:
    """One answer of the block taken apart: scores, what they weigh, and what that adds up to.

    Args:
        scores: attention scores of the window's tokens, as the block computes them.
        td_errors: TD errors of its transitions, as the textbook computes them.
        directions: what each token hands on, V̄21 x_i: for SARSA αφ_i.
        step: the textbook's change of the parameters.
    """
    scores, td_errors, directions, step = map(np.asarray, (scores, td_errors, directions, step))
    n, q = directions.shape
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(10.4, 3.3), width_ratios=(1, 1.2, 1)
    )
    left.vlines(np.arange(n), 0, scores, color=PALETTE[0], lw=1.2)
    left.plot(scores, "o", ms=4, color=PALETTE[0], label="attention score")
    left.plot(td_errors, "o", ms=9, mfc="none", mec="0.25", label="TD error $\\delta_i$")
    left.axhline(0, color="0.5", lw=0.8)
    left.set(title="1. A score per transition", xlabel="transition i", ylabel="score")
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.35 * (high - low))
    left.legend(loc="upper left", fontsize="x-small", ncols=2)
    terms = scores[:, None] * directions / n
    heat_map(terms.T, middle, square=False, cbar=True, cbar_kws={"label": "entry"})
    middle.set(
        title="2. Score × $\\bar V_{21} x_i$ / n", xlabel="transition i", ylabel="parameter"
    )
    right.barh(np.arange(q), terms.sum(0), color=PALETTE[0], label="sum of the columns")
    right.plot(step, np.arange(q), "|", ms=7, mew=1.6, color="0.1", label="the rule's step")
    right.invert_yaxis()
    right.axvline(0, color="0.5", lw=0.8)
    right.set(title="3. They add up to the step", xlabel="change of the parameter", yticks=[])
    right.set_ylim(q + 0.5, -6)
    right.legend(loc="upper left", fontsize="x-small", ncols=2)
    return figure
