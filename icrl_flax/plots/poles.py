"""Recorded episodes of CartPole: a strip of moments, and the same in motion."""

from collections.abc import Mapping
from html import escape
from zlib import crc32

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from icrl_flax import _checks
from icrl_flax.plots.theme import PALETTE

SECONDS = 0.02
"""Of one step of CartPole."""
TRACK, LENGTH = 2.4, 1.0
"""Where the cart's place ends on both sides, and the pole's length."""

Episodes = Mapping[str, Float[np.ndarray, "times 4"]]


def _checked(episodes: Episodes) -> dict[str, np.ndarray]:
    """Place and tilt at each step of each episode."""
    if not episodes:
        raise ValueError("episodes must be at least one, got none")
    found = {name: np.asarray(path, float) for name, path in episodes.items()}
    for name, path in found.items():
        _checks.shape(f"episodes[{name!r}]", path, (None, 4))
        _checks.finite(f"episodes[{name!r}]", path)
        if len(path) < 2:
            raise ValueError(f"episodes[{name!r}] must have at least one step, got none")
    return {name: path[:, [0, 2]] for name, path in found.items()}


def poles_figure(episodes: Episodes, every: int = 20) -> Figure:
    """Cart and pole at moments of each episode, its last one too: one row for each episode.

    Args:
        episodes: CartPole's four numbers from the first step's to those after the last, by the
            name of the row.
        every: steps between two moments.

    Raises:
        ValueError: if there is no episode, or one has another shape or no step.
    """
    paths = _checked(episodes)
    _checks.positive_integer("every", every)
    longest = max(map(len, paths.values())) - 1
    pole = 0.09 * (longest + 2 * every)  # in steps, as long as it is high
    figure, panels = plt.subplots(
        len(paths), 1, figsize=(7.2, 0.4 + 1.2 * len(paths)), sharex=True, squeeze=False
    )
    for panel, (name, path) in zip(panels[:, 0], paths.items(), strict=True):
        last = len(path) - 1
        for step in (*range(0, last - every // 2, every), last):
            x, tilt = path[step]
            # The whole track is as wide as a moment's share of the axis.
            foot = step + x / TRACK * every / 2
            panel.plot(
                [foot, foot + pole * np.sin(tilt)],
                [0.12, 0.12 + LENGTH * np.cos(tilt)],
                color=PALETTE[3],
                lw=2,
                solid_capstyle="round",
            )
            panel.add_patch(Rectangle((foot - every / 4, 0), every / 2, 0.12, color=PALETTE[7]))
        panel.axvline(last, color="black", lw=0.8, ls=":")
        panel.set(ylim=(0, 1.35), yticks=[], title=f"{name}: {last} steps")
        panel.spines["left"].set_visible(False)
    panels[-1, 0].set(xlabel="step", xlim=(-every, longest + every))
    return figure


class _Moving(str):
    """HTML that a notebook shows; as plain text it is what it shows, in words."""

    words = ""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return self.words


def poles_animation(episodes: Episodes, words: str, every: int = 4) -> str:
    """The episodes in motion, one below the other, at the speed at which they happened.

    Nothing is loaded and no script runs: it is an SVG with a style sheet, and a box to hold it.
    A reader who has asked for less motion sees each episode's last moment, at rest.

    Args:
        episodes: CartPole's four numbers from the first step's to those after the last, by the
            name of the row.
        words: what is to be seen, for those who do not see it.
        every: steps between two moments that are written down.

    Returns:
        HTML, which a notebook shows as the last value of a cell.

    Raises:
        ValueError: if there is no episode, or one has another shape or no step.
    """
    paths = _checked(episodes)
    _checks.positive_integer("every", every)
    mark = f"poles-{crc32(repr((words, episodes)).encode()):08x}"
    longest = max(map(len, paths.values())) - 1
    whole = 1.1 * longest * SECONDS
    rules, lanes = [], []
    for number, (name, path) in enumerate(paths.items()):
        steps = sorted({*range(0, len(path), every), len(path) - 1})
        frames = {"cart": "", "pole": "", "time": ""}
        for step in steps:
            x, tilt = path[step]
            place = f"{100 * step * SECONDS / whole:.4g}%"
            if step == steps[-1]:
                place += ",100%"
            frames["cart"] += f"{place}{{transform:translate({100 * x:.4g}px)}}"
            frames["pole"] += f"{place}{{transform:rotate({np.degrees(tilt):.4g}deg)}}"
            frames["time"] += (
                f"{place}{{transform:scaleX({step / longest:.4g})}}"
                if step in (steps[0], steps[-1])
                else ""
            )
        for part, written in frames.items():
            rules.append(
                f".{mark}-{part}-{number}{{animation:{mark}-{part}-{number} {whole:.4g}s linear "
                f"infinite}}@keyframes {mark}-{part}-{number}{{{written}}}"
            )
        x, tilt = path[-1]
        lanes.append(
            f'<g transform="translate(260,{175 * number + 150})">'
            f'<text x="-240" y="-125">{escape(name)}: {len(path) - 1} steps</text>'
            '<line x1="-240" x2="240" stroke="#777"/>'
            f'<g class="{mark}-cart-{number}" transform="translate({100 * x:.4g})">'
            '<rect x="-25" y="-20" width="50" height="20" fill="#555"/>'
            f'<g transform="translate(0,-16)"><g class="{mark}-pole-{number}" '
            f'transform="rotate({np.degrees(tilt):.4g})"><line y2="{-100 * LENGTH:.4g}" '
            'stroke="#b33e00" stroke-width="6" stroke-linecap="round"/></g></g></g>'
            f'<rect class="{mark}-time-{number}" x="-240" y="8" width="480" height="4" '
            f'fill="#0d5cc9" transform="scale({(len(path) - 1) / longest:.4g},1)" '
            'style="transform-box:fill-box;transform-origin:left"/></g>'
        )
    height = 175 * len(paths)
    style = "".join(rules)
    style += (
        f"#{mark}:checked~svg *{{animation-play-state:paused}}"
        f"@media(prefers-reduced-motion:reduce){{.{mark} svg *{{animation:none}}"
        f".{mark} :is(input,label){{display:none}}}}"
    )
    page = _Moving(
        f'<div class="{mark}"><style>{style}</style>'
        f'<input type="checkbox" id="{mark}"/> <label for="{mark}">hold still</label>'
        f'<svg viewBox="0 0 520 {height}" role="img" aria-label="{escape(words)}" '
        'style="display:block;width:100%;max-width:520px;background:#fff" '
        f'font-family="sans-serif" font-size="15" fill="#222">{"".join(lanes)}</svg></div>'
    )
    page.words = words
    return page
