"""Six of Gymnasium's environments, five rules of control: the table in results/environments.

    python experiments/environments.py --out results/environments

A block and its teacher act in each environment with the rule's parameters starting at 0, side by
side in ten environments with chance of their own. Where the block's dimension allows, its weights
come from training on random tables; elsewhere they are the construction's. The features' scale,
which does what a step size does, is chosen for each environment and rule on two other seeds, with
the teacher, for half as long. Beside them stand SARSA(λ) as a textbook writes it, one update for
each step, with step size and λ from a grid on the same two seeds, and acting at random.
"""

import argparse
import csv
import dataclasses
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

import icrl_flax as icrl
from icrl_flax import control, experience, rules
from icrl_flax.attention.block import EffectiveBlock
from icrl_flax.training.checkpoint import provenance

SEEDS, TUNING_SEEDS, N, LAST = 10, 2, 20, 20
SCALES = (1.0, 2.0, 4.0, 8.0)
ALPHAS, LAMBDAS = (0.03, 0.1, 0.3, 1.0), (0.0, 0.5, 0.9)
RULES = ("sarsa", "expected-sarsa", "n-step-sarsa", "sarsa-lambda", "actor-critic")
TRAINED_UP_TO = 48
"""The largest number of SARSA's features, d, for which a block is trained."""


@dataclasses.dataclass(frozen=True)
class TaxiErrand:
    """Taxi's 500 states by what the taxi has to do: 2 kinds of errand, 4 targets, 25 places.

    Before the passenger is in the taxi the target is where they wait, and then where they go.

    Args:
        scale: the feature that is not 0.
    """

    scale: float = 1.0
    size = 200

    def __call__(self, observation: Any) -> np.ndarray:
        place, errand = np.divmod(np.asarray(observation), 20)
        passenger, goal = np.divmod(errand, 4)
        inside = passenger == 4
        target = np.where(inside, goal, passenger)
        return self.scale * np.eye(self.size)[(4 * inside + target) * 25 + place]


@dataclasses.dataclass(frozen=True)
class Place:
    """One environment: how it is seen, and for how long.

    Args:
        env: Gymnasium's name.
        features: `TaxiErrand`, or the name of a class of `icrl_flax.experience`.
        options: its arguments, the scale apart.
        gamma: discount γ.
        epsilon: probability of a uniform action.
        windows: how many, of n steps.
        longest: a time limit, where the environment has none of its own.
        n: steps in a window.
        rules: the rules that act in it.
        trained_at: γ of the random tables that a block is trained on.
    """

    env: str
    features: str
    options: dict[str, Any]
    gamma: float
    epsilon: float
    windows: int
    longest: int | None = None
    n: int = N
    rules: tuple[str, ...] = RULES
    trained_at: float = 0.5

    def make(self) -> Any:
        return gymnasium.make(self.env, max_episode_steps=self.longest)

    def seen(self, scale: float) -> Any:
        kind = TaxiErrand if self.features == "TaxiErrand" else getattr(experience, self.features)
        return kind(**self.options, scale=scale)


def box(*high: float, low: Sequence[float] | None = None, **others: Any) -> dict[str, Any]:
    """Ends of a box, symmetric unless said otherwise."""
    return {"low": list(low or [-x for x in high]), "high": list(high), **others}


PLACES = {
    "CartPole": Place(
        "CartPole-v1", "Fourier", box(4.8, 4.0, 0.25, 3.5, order=1), 0.95, 0.01, 800
    ),
    "MountainCar": Place(
        "MountainCar-v0", "Fourier", box(0.6, 0.07, low=[-1.2, -0.07], order=3), 0.99, 0.01, 700
    ),
    "Acrobot": Place(
        "Acrobot-v1", "Fourier", box(1, 1, 1, 1, 12.6, 28.3, order=1), 0.99, 0.01, 600
    ),
    "FrozenLake": Place("FrozenLake-v1", "OneHot", {"n": 16}, 0.97, 0.1, 800),
    "CliffWalking": Place("CliffWalking-v1", "OneHot", {"n": 48}, 0.97, 0.1, 400, 200),
    "Taxi": Place("Taxi-v4", "TaxiErrand", {}, 0.97, 0.05, 600),
    "CartPole, trained at 0.9": Place(
        "CartPole-v1",
        "Fourier",
        box(4.8, 4.0, 0.25, 3.5, order=1),
        0.95,
        0.01,
        800,
        rules=("sarsa-lambda",),
        trained_at=0.9,
    ),
    # Fewer steps, in short windows.
    "Taxi, n = 2": Place("Taxi-v4", "TaxiErrand", {}, 0.97, 0.05, 4000, n=2, rules=("sarsa",)),
}


def rule_for(name: str, place: Place) -> Any:
    """The rule with the sizes that the place's features and actions ask for."""
    env = place.make()
    k, actions = place.seen(1.0).size, int(env.action_space.n)
    sizes = {"m": k * actions, "d": k} if name == "actor-critic" else {"d": k * actions}
    return rules.discover()[name](**sizes, epsilon=place.epsilon)


def block_for(rule: Any, place: Place, config: icrl.TrainingConfig) -> tuple[str, Any]:
    """Where the block's weights come from, and the block."""
    env = place.make()
    if place.seen(1.0).size * int(env.action_space.n) > TRAINED_UP_TO:
        return "constructed", EffectiveBlock(rule.optimum(jnp.float32))
    numbers = {field: getattr(rule, field) for field in ("m", "d") if hasattr(rule, field)}
    family = icrl.RandomMDPs(gamma=place.trained_at)
    return "trained", icrl.train(type(rule)(**numbers), family, config).block


class Scaled(gymnasium.Wrapper):
    """An environment that says before each observation how large its features are to be."""

    def __init__(self, env: Any, scale: float) -> None:
        super().__init__(env)
        self.scale = scale

    def reset(self, **options: Any) -> Any:
        observation, info = self.env.reset(**options)
        return np.append(self.scale, observation), info

    def step(self, action: Any) -> Any:
        observation, *rest = self.env.step(action)
        return np.append(self.scale, observation), *rest


def side_by_side(place: Place) -> Callable[[Any], np.ndarray]:
    """Features of what `Scaled` environments say."""
    features = place.seen(1.0)

    def seen(observations: Any) -> np.ndarray:
        inner = observations[..., 1:]
        inner = inner if place.features == "Fourier" else inner[..., 0].astype(int)
        return observations[..., :1] * features(inner)

    return seen


def tuned(rule: Any, place: Place) -> list[float]:
    """The teacher's score for each scale, all side by side."""
    envs = [Scaled(place.make(), scale) for scale in SCALES for _ in range(TUNING_SEEDS)]
    life = control.live_control(
        envs,
        rule,
        rule.teacher,
        side_by_side(place),
        gamma=place.gamma,
        windows=place.windows // 2,
        n=place.n,
        seed=1000,
    )
    return scores(life.returns, len(SCALES))


def scores(returns: list[np.ndarray], choices: int) -> list[float]:
    """The mean of the last episodes for each choice; −∞ where fewer have ended."""
    last = [each[-LAST:].mean() if len(each) >= LAST else -np.inf for each in returns]
    return np.reshape(last, (choices, -1)).mean(axis=1).tolist()


def textbook(
    envs: Sequence[Any],
    place: Place,
    alpha: Any,
    lam: Any,
    *,
    epsilon: float,
    seed: int,
    windows: int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Linear SARSA(λ) with accumulating traces (Sutton and Barto 2018, §12.7), step by step.

    Where a time limit cuts an episode, its last observation keeps its value.

    Args:
        envs: one for each lane.
        place: says what is seen.
        alpha: step size, a number or one for each lane; features have a length of about 1.
        lam: λ, likewise.
        epsilon: probability of a uniform action.
        seed: of all chance; environment k is reset with seed + k.
        windows: how many times n steps.

    Returns:
        The returns of the episodes of each lane, and its weights `[lane, action, feature]`.
    """
    features, actions = place.seen(1.0), int(envs[0].action_space.n)
    rng, lanes = np.random.default_rng([seed, 0x5A125A]), np.arange(len(envs))
    alpha, lam = (np.broadcast_to(x, len(envs))[:, None, None] for x in (alpha, lam))
    w = np.zeros((len(envs), actions, features.size))
    z, totals = np.zeros_like(w), np.zeros(len(envs))
    returns: list[list[float]] = [[] for _ in envs]

    def act(psi: np.ndarray) -> np.ndarray:
        q = np.einsum("eak,ek->ea", w, psi)
        ties = rng.random(q.shape) * (q == q.max(axis=1, keepdims=True))
        uniform = rng.random(len(envs)) < epsilon
        return np.where(uniform, rng.integers(0, actions, len(envs)), ties.argmax(axis=1))

    now = features(np.asarray([env.reset(seed=seed + k)[0] for k, env in enumerate(envs)]))
    action = act(now)
    for _ in range(windows * place.n):
        steps = [env.step(int(a)) for env, a in zip(envs, action, strict=True)]
        rewards = np.array([float(step[1]) for step in steps])
        ended = np.array([step[2] for step in steps])
        over = ended | np.array([step[3] for step in steps])
        then = features(np.asarray([step[0] for step in steps]))
        chosen = act(then)
        z *= place.gamma * lam
        z[lanes, action] += now
        value = np.einsum("ek,ek->e", w[lanes, chosen], then)
        error = rewards + np.where(ended, 0, place.gamma * value)
        error -= np.einsum("ek,ek->e", w[lanes, action], now)
        w += alpha * error[:, None, None] * z
        totals += rewards
        for k in np.flatnonzero(over):
            returns[k].append(float(totals[k]))
            totals[k], z[k] = 0, 0
            then[k] = features(np.asarray(envs[k].reset()[0]))
        now, action = then, np.where(over, act(then), chosen) if over.any() else chosen
    return [np.array(each) for each in returns], w


def rows_of(labels: dict[str, Any], returns: list[np.ndarray]) -> list[dict[str, Any]]:
    """One row for each seed: the mean of its last episodes, empty if fewer have ended."""
    return [
        labels
        | {
            "seed": seed,
            "episodes": len(each),
            "last": f"{each[-LAST:].mean():.6g}" if len(each) >= LAST else "",
        }
        for seed, each in enumerate(returns)
    ]


def of_rule(
    name: str, rule_name: str, config: icrl.TrainingConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of a rule's block and of its teacher, and of the choice of its scale."""
    place = PLACES[name]
    rule = rule_for(rule_name, place)
    found = tuned(rule, place)
    scale = SCALES[int(np.argmax(found))]
    weights, block = block_for(rule, place, config)
    rows: list[dict[str, Any]] = []
    agents = {"block": icrl.BlockAgent(rule, block), "teacher": rule.teacher}
    for agent_name, agent in agents.items():
        life = control.live_control(
            [place.make() for _ in range(SEEDS)],
            rule,
            agent,
            place.seen(scale),
            gamma=place.gamma,
            windows=place.windows,
            n=place.n,
        )
        labels = {
            "environment": name,
            "rule": rule_name,
            "agent": agent_name,
            "weights": weights if agent_name == "block" else "",
            "parameters": rule.q,
            "scale": scale,
        }
        rows += rows_of(labels, life.returns)
    choices = [
        {"environment": name, "rule": rule_name, "scale": scale, "score": f"{score:.6g}"}
        for scale, score in zip(SCALES, found, strict=True)
    ]
    return rows, choices


def references(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the textbook's SARSA(λ) and of acting at random, and of the choice from the grid."""
    place = PLACES[name]
    grid = [(alpha, lam) for alpha in ALPHAS for lam in LAMBDAS]
    lanes = [choice for choice in grid for _ in range(TUNING_SEEDS)]
    with np.errstate(over="ignore", invalid="ignore"):  # where a step is too large
        found, _ = textbook(
            [place.make() for _ in lanes],
            place,
            *np.array(lanes).T,
            epsilon=place.epsilon,
            seed=1000,
            windows=place.windows // 2,
        )
    found = scores(found, len(grid))
    alpha, lam = grid[int(np.argmax(found))]
    rows: list[dict[str, Any]] = []
    for agent, step, epsilon in (("textbook", alpha, place.epsilon), ("uniform", 0.0, 1.0)):
        envs = [place.make() for _ in range(SEEDS)]
        returns, _ = textbook(
            envs, place, step, lam, epsilon=epsilon, seed=0, windows=place.windows
        )
        size = place.seen(1.0).size * int(envs[0].action_space.n)
        labels = {
            "environment": name,
            "rule": "sarsa-lambda" if agent == "textbook" else "",
            "agent": agent,
            "weights": "",
            "parameters": size if agent == "textbook" else "",
            "scale": "",
        }
        rows += rows_of(labels, returns)
    choices = [
        {"environment": name, "rule": "textbook", "alpha": alpha, "lam": lam}
        | {"score": f"{score:.6g}"}
        for (alpha, lam), score in zip(grid, found, strict=True)
    ]
    return rows, choices


def write(out: Path, tables: dict[str, list[dict[str, Any]]], record: dict[str, Any]) -> None:
    """Everything so far, and what made it."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as lines:
            table = csv.DictWriter(lines, columns, lineterminator="\n", restval="")
            table.writeheader()
            table.writerows(rows)
    (out / "provenance.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def before(out: Path) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
    """What an interrupted call has written, and its seconds."""
    tables: dict[str, list[dict[str, Any]]] = {"runs": [], "tuning": []}
    if not (out / "provenance.json").exists():
        return tables, {}
    for name in tables:
        with (out / f"{name}.csv").open(newline="", encoding="utf-8") as lines:
            tables[name] = list(csv.DictReader(lines))
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    return tables, record["seconds"]


def main() -> None:
    """Run every environment and rule, and write after each; what is there already stays."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--environments", nargs="*", default=list(PLACES), choices=list(PLACES))
    parser.add_argument("--mdps", type=int, default=10_000, help="to train a block on")
    options = parser.parse_args()
    config = icrl.TrainingConfig(seed=0, mdps=options.mdps)
    versions = provenance()
    versions["versions"]["gymnasium"] = gymnasium.__version__
    record: dict[str, Any] = {
        "command": f"python experiments/environments.py --out {options.out.name}",
        "seeds": SEEDS,
        "tuning_seeds": TUNING_SEEDS,
        "window_length": N,
        "last_episodes": LAST,
        "scales": SCALES,
        "alphas": ALPHAS,
        "lambdas": LAMBDAS,
        "training_mdps": options.mdps,
        "places": {name: dataclasses.asdict(place) for name, place in PLACES.items()},
        "environment": versions | {"processor": platform.machine()},
        "seconds": {},  # of the processor
    }
    tables, seconds = before(options.out)
    record["seconds"] |= seconds
    for name in options.environments:
        parts = PLACES[name].rules
        for rule_name in (*parts, None) if parts == RULES else parts:
            part = f"{name}, {rule_name or 'references'}"
            if part in seconds:
                continue
            began = time.process_time()
            rows, choices = of_rule(name, rule_name, config) if rule_name else references(name)
            tables["runs"] += rows
            tables["tuning"] += choices
            record["seconds"][part] = round(time.process_time() - began, 1)
            write(options.out, tables, record)
            last = [float(row["last"] or "nan") for row in rows]
            means = np.reshape(last, (-1, SEEDS)).mean(axis=1).round(2)
            print(f"{part}: {record['seconds'][part]} s, {means}", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_default_matmul_precision", "highest")
    main()
