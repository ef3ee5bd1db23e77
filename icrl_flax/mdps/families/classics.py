"""MDPs that the literature on prediction and control knows by name."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._draws import normal, uniform
from icrl_flax.mdps.families.base import Family
from icrl_flax.mdps.families.random import SparseMDPs
from icrl_flax.mdps.tabular import TabularMDP


def _own_table(family: Family, features: Any, rule: Any, table: Float[Array, "S d"]) -> Any:
    """A rule's features with the family's own table in the place of φ.

    Raises:
        ValueError: if the rule does not predict, or has another number of features.
    """
    if not hasattr(features, "logits"):
        raise ValueError(
            f"family {family.name()!r} has features for rules that predict, got {rule.name()!r}"
        )
    if rule.d != table.shape[1]:
        raise ValueError(
            f"d must be {table.shape[1]} for the features of family {family.name()!r}, "
            f"got {rule.d}"
        )
    return features._replace(phi=table.astype(features.phi.dtype))


class BoyanChain(Family):
    """Boyan's chain (2002): from state s one or two down, with equal chances, at a cost of 3.

    An episode starts in the highest state and ends in state 0; from state 1 the cost is 2.
    Without a discount the value of state s is −2s, which its own features hold exactly: 1 at
    every fourth state, linear between. With γ < 1 values are nearer to 0.

    Args:
        n_states: number of states S, the last one included; one more than a multiple of 4.
        gamma: discount γ in [0, 1).
        own_features: use the chain's features, (S − 1)/4 + 1 of them, of which d must be one
            for each; otherwise the rule draws its own.
    """

    n_states: int = eqx.field(static=True, default=13)
    gamma: float = 0.99
    own_features: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        _checks.positive_integer("n_states", self.n_states)
        _checks.discount("gamma", self.gamma)
        if self.n_states % 4 != 1 or self.n_states == 1:
            raise ValueError(
                f"n_states must be one more than a multiple of 4, got {self.n_states}"
            )

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """The chain, its arrays in `dtype`; every draw is the same."""
        size = self.n_states
        states = jnp.arange(size)
        one, two = (jax.nn.one_hot(jnp.maximum(states - k, 0), size, dtype=dtype) for k in (1, 2))
        reward = jnp.select([states == 0, states == 1], [0, -2], -3).astype(dtype)
        return TabularMDP(
            transition=((one + two) / 2)[:, None],
            reward=jnp.broadcast_to(reward[:, None, None], (size, 1, size)),
            initial=jax.nn.one_hot(size - 1, size, dtype=dtype),
            gamma=jnp.asarray(self.gamma, dtype),
            terminal=states == 0,
        )

    def with_features(
        self, key: Key[Array, ""], mdp: TabularMDP, features: Any, rule: Any
    ) -> tuple[TabularMDP, Any]:
        """The chain's own features, if they are asked for."""
        if not self.own_features:
            return mdp, features
        places = jnp.arange(self.n_states)[:, None] / 4
        knots = jnp.arange((self.n_states - 1) // 4 + 1)
        table = jnp.maximum(1 - jnp.abs(places - knots), 0)
        return mdp, _own_table(self, features, rule, table)


class RandomBoyanChain(Family):
    """Boyan's chain with random numbers, after Wang et al. (2025): prediction alone.

    From state i the walk goes one or two states on, with a chance p of one that is uniform on
    (0.01, 0.99) and drawn for each state; from the last state but one it goes to the last, and
    from there to any state, with chances proportional to such numbers. So are the chances of
    the first state. The reward for leaving a state is uniform on (−1, 1). There is one action.

    Args:
        n_states: number of states S, at least 3.
        gamma: discount γ in [0, 1).
    """

    n_states: int = eqx.field(static=True, default=10)
    gamma: float = 0.9

    def __check_init__(self) -> None:
        _checks.positive_integer("n_states", self.n_states)
        _checks.discount("gamma", self.gamma)
        if self.n_states < 3:
            raise ValueError(f"n_states must be at least 3, got {self.n_states}")

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one chain, its arrays in `dtype`."""
        size = self.n_states
        chances, back, start, reward = uniform(key, (4, size), dtype)
        chances, back, start = (0.01 + 0.98 * each for each in (chances, back, start))
        chances = chances.at[-2].set(1)
        one, two = (jnp.eye(size, k=k, dtype=dtype) for k in (1, 2))
        rows = chances[:, None] * one + (1 - chances)[:, None] * two
        return TabularMDP(
            transition=rows.at[-1].set(back / back.sum())[:, None],
            reward=jnp.broadcast_to((2 * reward - 1)[:, None, None], (size, 1, size)),
            initial=start / start.sum(),
            gamma=jnp.asarray(self.gamma, dtype),
        )


class Loop(Family):
    """A ring of states with random shortcuts, after Wang et al. (2025): prediction alone.

    From each state the next one on the ring can be reached, and any other with the chance
    that `density` says; what can be reached has probabilities that are proportional to
    uniform numbers. The reward for leaving a state is uniform on (−1, 1). There is one action.

    Args:
        n_states: number of states S.
        gamma: discount γ in [0, 1).
        density: chance of a shortcut, in [0, 1]; with 0 the walk goes round and round.
    """

    n_states: int = eqx.field(static=True, default=9)
    gamma: float = 0.5
    density: float = 0.5

    def __check_init__(self) -> None:
        _checks.positive_integer("n_states", self.n_states)
        _checks.discount("gamma", self.gamma)
        _checks.probability("density", self.density)

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one ring, its arrays in `dtype`."""
        size = self.n_states
        weights, chance = uniform(key, (2, size, size), dtype)
        ring = jnp.roll(jnp.eye(size, dtype=bool), 1, axis=1)
        open_ = ring | (chance < self.density)
        rows = jnp.where(open_, 1 - weights, 0)  # above 0, so that the ring is never cut
        reward_key, start_key = (jax.random.fold_in(key, k) for k in range(2))
        reward = uniform(reward_key, (size, 1, 1), dtype, -1, 1)
        start = 1 - uniform(start_key, (size,), dtype)
        return TabularMDP(
            transition=(rows / rows.sum(axis=1, keepdims=True))[:, None],
            reward=jnp.broadcast_to(reward, (size, 1, size)),
            initial=start / start.sum(),
            gamma=jnp.asarray(self.gamma, dtype),
        )


class Garnet(Family):
    """Garnet problems: every pair (s, a) has few successors and a normal reward of its own.

    Successors are drawn uniformly, their probabilities are Dirichlet(1, …, 1), rewards are
    N(0, 1), one for each (s, a), and an episode may start anywhere (after Archibald et al.
    1995, and Bhatnagar et al. 2009).

    Args:
        n_states: number of states S.
        n_actions: number of actions A.
        gamma: discount γ in [0, 1).
        branching: possible successors of each pair, at most S.
    """

    n_states: int = eqx.field(static=True, default=9)
    n_actions: int = eqx.field(static=True, default=4)
    gamma: float = 0.5
    branching: int = eqx.field(static=True, default=3)

    def __check_init__(self) -> None:
        _checks.positive_integer("branching", self.branching)
        _checks.positive_integer("n_states", self.n_states)
        if self.branching > self.n_states:
            raise ValueError(
                f"branching must be at most n_states = {self.n_states}, got {self.branching}"
            )
        SparseMDPs(self.n_states, self.n_actions, self.gamma, self.branching)

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one MDP of the family, its arrays in `dtype`."""
        s, a = self.n_states, self.n_actions
        moves_key, reward_key = jax.random.split(key)
        moves = SparseMDPs(s, a, successors=self.branching).transition(moves_key, dtype)
        return TabularMDP(
            transition=moves,
            reward=jnp.broadcast_to(normal(reward_key, (s, a, 1), dtype), (s, a, s)),
            initial=jnp.full(s, 1 / s, dtype),
            gamma=jnp.asarray(self.gamma, dtype),
        )


class GridMDPs(Family):
    """Grids with walls and a goal: four moves, some of them slip, and the goal pays 1 and ends.

    A move into a wall or off the grid stays. Walls and goal are drawn anew for each grid, and
    an episode starts in any free cell but the goal; a goal that walls shut in is never reached.

    Args:
        side: cells along each side; at least 2.
        gamma: discount γ in [0, 1).
        walls: how many cells are walls; at most side² − 2.
        slip: probability of a random move in place of the chosen one, in [0, 1].
    """

    side: int = eqx.field(static=True, default=3)
    gamma: float = 0.9
    walls: int = eqx.field(static=True, default=1)
    slip: float = 0.1

    def __check_init__(self) -> None:
        _checks.positive_integer("side", self.side)
        _checks.discount("gamma", self.gamma)
        _checks.probability("slip", self.slip)
        most = self.side**2 - 2
        if isinstance(self.walls, bool) or not 0 <= self.walls <= most:
            raise ValueError(
                f"walls must lie in [0, {most}] on a grid of side {self.side}, got {self.walls}"
            )

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one grid, its arrays in `dtype`."""
        side, cells = self.side, self.side**2
        rank = jnp.argsort(jnp.argsort(uniform(key, (cells,), dtype)))
        goal, wall = rank == 0, (rank > 0) & (rank <= self.walls)
        row, place = jnp.divmod(jnp.arange(cells), side)
        landing = jnp.stack(
            [
                jnp.clip(row + dy, 0, side - 1) * side + jnp.clip(place + dx, 0, side - 1)
                for dy, dx in ((-1, 0), (0, 1), (1, 0), (0, -1))
            ],
            axis=1,
        )
        landing = jnp.where(wall[landing], jnp.arange(cells)[:, None], landing)
        chosen = jax.nn.one_hot(landing, cells, dtype=dtype)
        start = (~goal & ~wall).astype(dtype)
        return TabularMDP(
            transition=(1 - self.slip) * chosen + self.slip * chosen.mean(1, keepdims=True),
            reward=jnp.broadcast_to(goal.astype(dtype), (cells, 4, cells)),
            initial=start / start.sum(),
            gamma=jnp.asarray(self.gamma, dtype),
            terminal=goal,
        )


class Baird(Family):
    """Baird's counterexample (1995): off-policy TD(0) diverges although every value is 0.

    Seven states; action k < 6 leads to state k and action 6 to state 6, whatever the state.
    No reward is paid. The policy to predict always takes action 6. With a rule's ε = 1 all
    actions are alike to the one that acts, as in Sutton and Barto (2018), §11.2, where the
    first six are one. Its features are 2w_k + w_7 in states k < 6, and w_6 + 2w_7 in state 6:
    they hold the values (w = 0), and yet the expected update is unstable.

    Args:
        gamma: discount γ in [0, 1).
        own_features: use the counterexample's features and policy, which need d = 8;
            otherwise the rule draws its own.
    """

    gamma: float = 0.99
    own_features: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        _checks.discount("gamma", self.gamma)

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """The counterexample, its arrays in `dtype`; every draw is the same."""
        return TabularMDP(
            transition=jnp.broadcast_to(jnp.eye(7, dtype=dtype), (7, 7, 7)),
            reward=jnp.zeros((7, 7, 7), dtype),
            initial=jnp.full(7, 1 / 7, dtype),
            gamma=jnp.asarray(self.gamma, dtype),
        )

    def with_features(
        self, key: Key[Array, ""], mdp: TabularMDP, features: Any, rule: Any
    ) -> tuple[TabularMDP, Any]:
        """Baird's features and policy, if they are asked for."""
        if not self.own_features:
            return mdp, features
        table = 2 * jnp.eye(7, 8).at[6, 6].set(0.5)
        table = table.at[:6, 7].set(1).at[6, 7].set(2)
        features = _own_table(self, features, rule, table)
        always = jnp.where(jnp.arange(7) == 6, 0.0, -jnp.inf)
        logits = jnp.broadcast_to(always, (7, 7)).astype(features.phi.dtype)
        return mdp, features._replace(logits=logits)
