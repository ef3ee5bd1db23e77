"""Figures show the numbers that they were given. Needs the `book` extra."""

import re
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import (
    ActorCritic,
    Effective,
    RandomMDPs,
    Sarsa,
    TrainingConfig,
    build_prompt,
    construct,
    train,
)
from icrl_flax.verification import Verdict

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("seaborn")
matplotlib.use("agg")
plots = pytest.importorskip("icrl_flax.plots")
formats = pytest.importorskip("icrl_flax.plots.formats")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def clean_slate():
    """The book's look, and nothing left open."""
    with matplotlib.rc_context():
        plots.theme()
        yield
    plt.close("all")


def drawn(axes):
    """The matrix of a heat map, as drawn."""
    (mesh,) = axes.collections
    return np.asarray(mesh.get_array()).reshape(mesh.get_coordinates().shape[0] - 1, -1)


def test_formats_of_figures():
    """Drawings are SVG, matrices PNG at 192 points an inch, and no text is below nine points."""
    figure, axes = plt.subplots(figsize=(4, 3))
    axes.plot([0, 1], label="a line")
    note = axes.text(0.5, 0.5, "small", fontsize=5)
    (text,) = formats.shown(figure).values()
    assert text.startswith("<?xml")
    assert text == formats.as_svg(figure), "depends on the moment"
    assert note.get_fontsize() == formats.SMALLEST
    matrix, axes = plt.subplots(1, 2, figsize=(4, 3))
    plots.heat_map(jnp.eye(3), axes[0], cbar=True)
    (name, picture), *_ = formats.shown(matrix).items()
    assert name == "image/png"
    width = int.from_bytes(picture[16:20], "big")  # PNG's header
    assert 3 * 192 < width < 5 * 192
    assert b"Comment\0panels: 2" in picture, "the colour bar is none"
    many, axes = plt.subplots()
    axes.plot(np.random.default_rng(0).normal(size=(30_000, 2)))
    assert list(formats.shown(many)) == ["image/png"]


@pytest.mark.parametrize("matrix", [False, True])
def test_a_kernel_draws_a_figure_once(matrix, monkeypatch):
    """Of the formats that a notebook offers it gets one, for one drawing."""
    shells = pytest.importorskip("IPython.core.interactiveshell")
    shell = shells.InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    formats.show_figures()
    figure, axes = plt.subplots()
    if matrix:
        plots.heat_map(jnp.eye(3), axes)
    drawn, save = [], figure.savefig

    def noted(*where, format, **options):
        drawn.append(format)
        save(*where, format=format, **options)

    monkeypatch.setattr(figure, "savefig", noted)
    shown, _ = shell.display_formatter.format(figure)
    assert drawn == ["png" if matrix else "svg"]
    assert set(shown) == {"text/plain", "image/png" if matrix else "image/svg+xml"}


@pytest.mark.parametrize(("limit", "shown"), [(None, 4.0), (0.5, 0.5)])
def test_heat_map_is_white_at_zero(limit, shown):
    matrix = jnp.array([[0.0, 1.0, -4.0], [2.0, 0.0, 3.0]])
    axes = plots.heat_map(matrix, plt.figure().subplots(), limit=limit)
    np.testing.assert_array_equal(drawn(axes), matrix)
    (mesh,) = axes.collections
    assert mesh.get_clim() == (-shown, shown)
    red, _, blue = zip(*mesh.to_rgba(np.array([-shown, 0.0, shown]))[:, :3], strict=True)
    assert red[1] == blue[1] == 1
    assert blue[0] > red[0]
    assert red[2] > blue[2]
    assert min(red[1], blue[1]) > 0.9


def test_prompt_figure_labels_every_band():
    H = build_prompt(jnp.arange(60.0).reshape(4, 15), jnp.arange(5.0))
    bands = {"φ": 7, "γφ⁺": 7, "r": 1, "1": 1, "w": 5}
    figure = plots.prompt_figure(H, bands)
    axes = figure.axes[0]
    np.testing.assert_array_equal(drawn(axes), H)
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert list(heights) == list(bands)
    assert heights["φ"] == 3.5
    assert heights["γφ⁺"] == 10.5
    places = list(heights.values())
    # D / 20 apart, where the bands themselves are less.
    assert min(np.diff(places)) == pytest.approx(21 / 20)
    assert [line.get_ydata()[0] for line in axes.lines[:-1]] == [0, 7, 14, 15, 16]
    assert axes.lines[-1].get_xdata()[0] == 4
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "4 transitions",
        "parameters",
    ]
    assert axes.get_title(loc="left") == "The prompt H, 21 × 5"


@pytest.mark.parametrize("letter", ["P", "V"])
def test_weights_figure_shows_the_trained_matrix_beside_the_theorys(letter):
    rule = ActorCritic(m=2, d=1, alpha=0.25, beta=0.75)
    optimum = rule.optimum(jnp.float64)
    trained = Effective(optimum.P12 + 0.1, optimum.V21 - 0.2)
    figure = plots.weights_figure(letter, trained, optimum, "Any title")
    theory = construct(rule, dtype=jnp.float64)["PV".index(letter)]
    p, matrix = rule.p, np.array(theory)
    if letter == "P":
        matrix[:p, p:] += 0.1
    else:
        matrix[p + 1 :, :p] -= 0.2
    for axes, shown in zip(figure.axes, (matrix, theory), strict=False):
        np.testing.assert_allclose(drawn(axes), shown, rtol=1e-12)
        (mesh,) = axes.collections
        # On the theory's scale, whatever training made.
        assert mesh.get_clim() == ((-1, 1) if letter == "P" else (-0.75, 0.75))
    assert formats.panels(figure) == 2
    assert figure.get_suptitle() == f"Any title: {letter}, {rule.D} × {rule.D}"
    with pytest.raises(ValueError, match="'Q'"):
        plots.weights_figure("Q", trained, optimum, "Any title")


def test_losses_are_binned():
    """1005 updates in 10 bins of 100; the last five are left out."""
    losses = np.random.default_rng(0).uniform(1, 2, 1005).astype(np.float32)
    axes = plt.figure().subplots()
    plots.draw_losses({"only": losses}, axes, bins=10)
    update, median = axes.lines[0].get_data()
    np.testing.assert_array_equal(update, np.arange(50, 1000, 100))
    bins = losses[:1000].reshape(10, 100)
    np.testing.assert_allclose(median, np.median(bins, axis=1))
    (band,) = axes.collections
    outline = band.get_paths()[0].vertices
    for k, centre in enumerate(update):
        low, high = np.quantile(bins[k], [0.05, 0.95])
        heights = outline[outline[:, 0] == centre, 1]
        assert heights.min() == pytest.approx(low)
        assert heights.max() == pytest.approx(high)
    assert axes.get_yscale() == "log"
    assert axes.get_legend() is None


def test_few_losses_are_drawn_one_by_one():
    axes = plt.figure().subplots()
    curves = {"one": np.array([3.0, 2.0, 1.0]), "two": np.array([1.0, 1.0])}
    plots.draw_losses(curves, axes)
    for line, (name, values) in zip(axes.lines, curves.items(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
        assert line.get_label() == name
    assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(curves)


def test_loss_figure_scales_the_schedule_to_the_last_median():
    rate = 0.5 ** np.arange(8)
    axes = plots.loss_figure({"run": 2.0 ** -np.arange(8.0)}, "Losses", rate).axes[0]
    loss, schedule = axes.lines
    # One update to a bin, whose middle is half an update later.
    np.testing.assert_allclose(schedule.get_ydata(), 2.0**-7 * rate**2 / rate[-1] ** 2)
    assert schedule.get_ydata()[-1] == loss.get_ydata()[-1]
    assert axes.get_title(loc="left") == "Losses"
    assert len(plots.loss_figure({"run": np.ones(3)}, "Losses").axes[0].lines) == 1


def test_a_band_has_the_colour_of_its_line():
    axes = plt.figure().subplots()
    curves = map(np.array, ([0, 1], [1, 1], [2, 3], [4, 5]))
    plots.draw_band(*curves, axes, alpha=0.5, color="C3", ls="--")
    (line,), (band,) = axes.lines, axes.collections
    assert line.get_linestyle() == "--"
    np.testing.assert_array_equal(line.get_ydata(), [2, 3])
    np.testing.assert_allclose(band.get_facecolor(), [matplotlib.colors.to_rgba("C3", 0.5)])
    outline = band.get_paths()[0].vertices
    assert {tuple(point) for point in outline} == {(0, 1), (0, 4), (1, 1), (1, 5)}
    assert axes.get_xlim() == (0, 1)


def test_tables_of_verdicts_and_runs():
    verdicts = [Verdict("td", "float64", 10, 1e-14, 1e-12), Verdict("td", "float32", 10, 1, 1e-5)]
    table = plots.verdict_table(verdicts)
    assert list(table.holds) == [True, False]
    assert list(table["dtype"]) == ["float64", "float32"]
    config = TrainingConfig(seed=5, mdps=30)
    run = train(Sarsa(d=3), RandomMDPs(3, 2), config)
    table = plots.run_table([run, run])
    assert table.index.name == "seed"
    assert list(table.index) == [5]
    assert table["loss, last 1000"][5] == pytest.approx(run.losses[-1000:].mean())
    assert table["c"][5] == run.alignment().c
    assert table["cosine"][5] == run.alignment().cosine


def test_mechanism_figure_draws_scores_on_td_errors_and_their_sum():
    scores, directions = np.array([1.0, -2.0, 0.5]), np.arange(12.0).reshape(3, 4)
    step = scores @ directions / 3
    figure = plots.mechanism_figure(scores, scores, directions, step)
    left, middle, right = figure.axes[:3]
    for line in left.lines[:2]:
        np.testing.assert_array_equal(line.get_ydata(), scores)
    np.testing.assert_allclose(drawn(middle), (scores[:, None] * directions / 3).T)
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], step)
    np.testing.assert_allclose(right.lines[0].get_xdata(), step)


def test_loop_figure_has_six_stations_and_six_arrows():
    axes = plots.loop_figure().axes[0]
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert len(texts) == 6
    assert len(axes.texts) == 12


def test_factors_figure_has_a_line_for_each_change_and_a_panel_for_each_result():
    pd = pytest.importorskip("pandas")
    rows = [
        {"factor": factor, "value": value, "base": value == 1.0, "loss": value, "low": value / 2}
        | {"high": value * 2, "gap": 2 * value}
        for factor in ("a", "b")
        for value in (3.0, 1.0, 0.5)
    ]
    columns = {"loss": ("low", "high"), "gap": ("low", "high")}
    figure = plots.factors_figure(pd.DataFrame(rows), columns)
    left, right = figure.axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["a (1)", "0.5", "3", "b (1)", "0.5", "3"]
    for axes, factor in ((left, 1), (right, 2)):
        points, unchanged, *_ = axes.lines
        np.testing.assert_array_equal(points.get_xdata(), factor * np.array([0.5, 3, 0.5, 3]))
        np.testing.assert_array_equal(points.get_ydata(), [1, 2, 4, 5])
        assert list(unchanged.get_xdata()) == [factor, factor]
    bars = left.collections[0].get_segments()
    np.testing.assert_allclose(bars[1], [(1.5, 2), (6, 2)])
    with pytest.raises(ValueError, match="one base row for 'a', got 0"):
        plots.factors_figure(pd.DataFrame(rows[:1]), columns)


def test_slack_figure_has_a_box_for_each_inequality_and_crosses_for_hostile_points():
    rows = {"a ≥ b": np.array([1.0, 2.0, 5.0]), "c ≥ d": np.array([3.0, 4.0, 9.0])}
    figure = plots.slack_figure({"one": rows, "two": rows}, {"one": rows, "two": rows})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["one", "two"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(rows)
    crosses = [line for line in figure.axes[1].lines if line.get_marker() == "x"]
    assert [line.get_xdata().tolist() for line in crosses] == [x.tolist() for x in rows.values()]
    assert figure.axes[0].get_xscale() == "log"
    alone = plots.slack_figure({"one": rows})
    assert not [line for line in alone.axes[0].lines if line.get_marker() == "x"]


def pole(steps):
    """An episode in which everything grows by one number a step."""
    return np.linspace([0, 0, 0, 0], [2.0, 9, 0.2, 9], steps + 1)


def test_poles_figure_has_a_row_for_each_episode_and_leans_as_the_pole_does():
    figure = plots.poles_figure({"first": pole(40), "last": -pole(100)}, every=20)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["first: 40 steps", "last: 100 steps"]
    for axes, moments, sign in zip(figure.axes, (3, 6), (1, -1), strict=True):
        *poles, end = axes.lines
        assert len(poles) == len(axes.patches) == moments
        leans = np.array([np.diff(line.get_xdata())[0] for line in poles])
        tilts = np.linspace(0, 0.2, 3 if moments == 3 else 6)
        np.testing.assert_allclose(leans, sign * 0.09 * 140 * np.sin(tilts), rtol=1e-12)
        assert end.get_xdata()[0] == (40 if sign == 1 else 100)


def test_poles_figure_ends_with_the_last_moment():
    (axes,) = plots.poles_figure({"short": pole(18)}, every=20).axes
    start, end, _ = axes.lines
    assert (start.get_xdata()[0], end.get_xdata()[0]) == pytest.approx((0, 18 + 2 / 2.4 * 10))


def test_poles_animation_moves_as_recorded_and_needs_nothing():
    episodes = {"first <one>": pole(10), "last": pole(500)}
    moving = plots.poles_animation(episodes, 'A pole that is held, "twice"', every=4)
    text = moving._repr_html_()
    assert repr(moving) == 'A pole that is held, "twice"'
    assert len(text.encode()) < 150_000
    assert "<script" not in text
    assert not re.search(r"https?:|url\(|@import", text)
    root = ElementTree.fromstring(text)
    style, switch, label, svg = root
    assert switch.get("id") == label.get("for")
    assert svg.get("aria-label") == 'A pole that is held, "twice"'
    assert svg[0][0].text == "first <one>: 10 steps"
    # Of the first: at steps 0, 4, 8 and 10, of 550 steps' time; then it stays.
    (frames,) = re.findall(r"@keyframes \S+-pole-0\{(.*?\})\}", style.text)
    found = re.findall(r"([\d.]+)%(,100%)?\{transform:rotate\(([^)]+)deg\)\}", frames)
    times, holds, tilts = zip(*found, strict=True)
    np.testing.assert_allclose(np.array(times, float), 100 * np.array([0, 4, 8, 10]) / 550, 1e-3)
    assert holds == ("", "", "", ",100%")
    degrees = np.degrees(np.array([0, 4, 8, 10]) * 0.02)
    np.testing.assert_allclose(np.array(tilts, float), degrees, rtol=1e-3)
    assert f"#{switch.get('id')}:checked~svg *{{animation-play-state:paused}}" in style.text
    assert "@media(prefers-reduced-motion:reduce)" in style.text
    # At rest each shows its last moment.
    assert svg[0].find(".//g[@class][@transform]/..") is not None
    assert [g.get("transform") for g in svg[0].iter("g")][1] == "translate(200)"
    assert text == plots.poles_animation(episodes, 'A pole that is held, "twice"', every=4)


@pytest.mark.parametrize("draw", [plots.poles_figure, lambda e: plots.poles_animation(e, "")])
@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ({}, "episodes must be at least one, got none"),
        ({"a": np.zeros((3, 2))}, r"episodes\['a'\] must have shape \(.*, 4\), got \(3, 2\)"),
        ({"a": np.zeros((1, 4))}, r"episodes\['a'\] must have at least one step, got none"),
        ({"a": np.full((3, 4), np.nan)}, r"episodes\['a'\] must be finite, got nan"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_episodes_that_cannot_be_drawn(draw, episodes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        draw(episodes)
