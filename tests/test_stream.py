"""Algorithm 1 re-enacted: states chain, targets are the teacher's, u follows the teacher."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import reference
from samples import sparse_mdp

from icrl_flax import ActorCritic, RandomMDPs, Sarsa, TabularMDP, stream
from icrl_flax.rules.actor_critic import ActorCriticFeatures
from icrl_flax.training.stream import stream_one

S, A, N, WINDOWS = 4, 3, 5, 20


class OneMDP(RandomMDPs):
    """A family with one member, known to the test."""

    mdp: TabularMDP = None

    def sample(self, key, dtype=jnp.float32):
        return self.mdp


class KnownSarsa(Sarsa):
    """SARSA whose features and first w are known to the test."""

    known: tuple = ()

    def sample_features(self, key, n_states, n_actions, dtype):
        return self.known[0]

    def sample_parameters(self, key, dtype):
        return self.known[1]


class KnownActorCritic(ActorCritic):
    known: tuple = ()

    def sample_features(self, key, n_states, n_actions, dtype):
        return self.known[0]

    def sample_parameters(self, key, dtype):
        return self.known[1]


run = eqx.filter_jit(stream_one)


def known_sarsa(rng, epsilon):
    known = jnp.asarray(rng.uniform(-1, 1, (S, A, 3))), jnp.asarray(rng.uniform(-1, 1, 3))
    return KnownSarsa(d=3, alpha=0.9, epsilon=epsilon, known=known)


def known_actor_critic(rng, epsilon):
    features = ActorCriticFeatures(
        jnp.asarray(rng.uniform(-1, 1, (S, A, 3))), jnp.asarray(rng.uniform(-1, 1, (S, 2)))
    )
    u = jnp.asarray(rng.uniform(-1, 1, 5))
    return KnownActorCritic(m=3, d=2, alpha=0.9, beta=0.6, epsilon=epsilon, known=(features, u))


def deterministic_mdp(rng):
    """One successor for each pair, one first state: with a greedy policy nothing is random."""
    mdp = sparse_mdp(rng, S, A)
    successors = (np.arange(S)[:, None] + 1 + np.arange(A)) % S
    return TabularMDP(np.eye(S)[successors], mdp.reward, np.eye(S)[2], mdp.gamma)


def test_life_is_algorithm_1():
    """Greedy SARSA in a deterministic MDP, all of it recomputed in NumPy."""
    rng = np.random.default_rng(4)
    mdp, rule = deterministic_mdp(rng), known_sarsa(rng, epsilon=0.0)
    examples = run(jax.random.key(0), rule, OneMDP(S, A, mdp=mdp), WINDOWS, N, dtype=jnp.float64)
    phi, w = map(np.asarray, rule.known)
    transition, reward, gamma = map(np.asarray, (mdp.transition, mdp.reward, mdp.gamma))
    state, policies = 2, set()
    for t in range(WINDOWS):
        pi = reference.sarsa_policy(phi, w, 0.0)
        states, actions, rewards = [state], [int(pi[state].argmax())], []
        for _ in range(N):
            successor = int(transition[states[-1], actions[-1]].argmax())
            rewards.append(reward[states[-1], actions[-1], successor])
            states.append(successor)
            actions.append(int(pi[successor].argmax()))
        policies.add(tuple(pi.argmax(axis=1)))
        path = states, actions, rewards, gamma
        np.testing.assert_allclose(examples.u[t], w, rtol=1e-12)
        np.testing.assert_allclose(
            examples.tokens[t], reference.sarsa_tokens(phi, *path), rtol=1e-12
        )
        w = reference.sarsa(phi, w, rule.alpha, *path)
        np.testing.assert_allclose(examples.target[t], w, rtol=1e-12)
        state = states[-1]
    assert len(policies) > 4  # or nothing would show that behaviour follows the teacher


def nearest(rows, table):
    """Index of each row in a table that holds it."""
    distances = np.abs(rows[:, None] - table[None]).max(axis=-1)
    assert distances.min(axis=1).max() < 1e-12
    return distances.argmin(axis=1)


def windows_of(examples):
    """Tokens, u and target of one window after another."""
    return zip(
        *(np.asarray(x) for x in (examples.tokens, examples.u, examples.target)), strict=True
    )


def check_steps(mdp, states, actions, rewards):
    transition, reward = np.asarray(mdp.transition), np.asarray(mdp.reward)
    steps = states[:-1], actions, states[1:]
    assert (transition[steps] > 0).all()
    np.testing.assert_array_equal(rewards, reward[steps])


def test_sarsa_windows_from_their_tokens():
    rng = np.random.default_rng(1)
    mdp, rule = sparse_mdp(rng, S, A), known_sarsa(rng, epsilon=0.5)
    phi, first = map(np.asarray, rule.known)
    examples = run(jax.random.key(1), rule, OneMDP(S, A, mdp=mdp), WINDOWS, N, dtype=jnp.float64)
    np.testing.assert_array_equal(examples.u[0], first)
    np.testing.assert_array_equal(examples.u[1:], examples.target[:-1])
    gamma, last, paths = float(mdp.gamma), None, set()
    for tokens, u, target in windows_of(examples):
        rewards = tokens[:, -1]
        features = np.concatenate([tokens[:, :3], tokens[-1:, 3:6] / gamma])
        np.testing.assert_allclose(gamma * features[1:], tokens[:, 3:6], rtol=1e-12)
        states, actions = np.divmod(nearest(features, phi.reshape(-1, 3)), A)
        check_steps(mdp, states, actions[:-1], rewards)
        expected = reference.sarsa(phi, u, rule.alpha, states, actions, rewards, gamma)
        np.testing.assert_allclose(target, expected, rtol=1e-12)
        assert last is None or states[0] == last
        last = states[-1]
        paths.add((*states, *actions))
    assert len(paths) > WINDOWS // 2  # each window has randomness of its own


def test_actor_critic_windows_from_their_tokens():
    rng = np.random.default_rng(2)
    mdp, rule = sparse_mdp(rng, S, A), known_actor_critic(rng, epsilon=0.5)
    features, first = rule.known
    phi_pi, phi_v = map(np.asarray, features)
    examples = run(jax.random.key(2), rule, OneMDP(S, A, mdp=mdp), WINDOWS, N, dtype=jnp.float64)
    np.testing.assert_array_equal(examples.u[0], first)
    np.testing.assert_array_equal(examples.u[1:], examples.target[:-1])
    gamma, last = float(mdp.gamma), None
    for tokens, u, target in windows_of(examples):
        rewards = tokens[:, 4]
        states = nearest(np.concatenate([tokens[:, :2], tokens[-1:, 2:4] / gamma]), phi_v)
        actions = [
            int(
                nearest(
                    tokens[i : i + 1, 5:] / gamma**i,
                    np.array([reference.score(phi_pi, u[:3], states[i], a) for a in range(A)]),
                )[0]
            )
            for i in range(N)
        ]
        check_steps(mdp, states, np.array(actions), rewards)
        # The last action is not taken, and an actor-critic does not look at it.
        path = states, [*actions, 0], rewards, gamma
        expected_tokens = reference.actor_critic_tokens(phi_pi, phi_v, u[:3], *path)
        np.testing.assert_allclose(tokens, expected_tokens, rtol=1e-11, atol=1e-14)
        expected = reference.actor_critic(phi_pi, phi_v, u, rule.alpha, rule.beta, *path)
        np.testing.assert_allclose(target, expected, rtol=1e-11)
        assert last is None or states[0] == last
        last = states[-1]


def test_mdps_do_not_depend_on_their_company():
    def generate(numbers):
        return stream(
            jax.random.key(0),
            jnp.asarray(numbers),
            Sarsa(d=3),
            RandomMDPs(S, A),
            4,
            N,
            jnp.float64,
        )

    together, some = generate([0, 1, 2, 3, 4]), generate([4, 2])
    for batch, pair in zip(jax.tree.leaves(together), jax.tree.leaves(some), strict=True):
        assert batch.shape[:2] == (5, 4)
        np.testing.assert_allclose(pair, batch[jnp.array([4, 2])], rtol=1e-13, atol=1e-15)
        assert len(np.unique(np.asarray(batch[:, 0]).reshape(5, -1)[:, 0])) == 5


def half_of(key):
    """32 bits of a key, exact in float64."""
    return jax.random.key_data(key)[0].astype(jnp.float64)


class TelltaleMDPs(RandomMDPs):
    """Rewards that are the key they were drawn with."""

    def sample(self, key, dtype=jnp.float32):
        mdp = super().sample(key, dtype)
        return eqx.tree_at(lambda mdp: mdp.reward, mdp, jnp.full_like(mdp.reward, half_of(key)))


class TelltaleSarsa(Sarsa):
    """Features and parameters that are the keys they were drawn with."""

    def sample_features(self, key, n_states, n_actions, dtype):
        return jnp.full((n_states, n_actions, self.d), half_of(key))

    def sample_parameters(self, key, dtype):
        return jnp.full(self.d, half_of(key))


def test_everything_is_drawn_with_a_key_of_its_own():
    examples = stream(
        jax.random.key(1), jnp.arange(3), TelltaleSarsa(d=1), TelltaleMDPs(2, 2), 1, 1, jnp.float64
    )
    # φ, r and w of each MDP: nine keys.
    keys = [*np.ravel(examples.tokens[..., 0]), *np.ravel(examples.tokens[..., 2])]
    keys += [*np.ravel(examples.u)]
    assert len(set(keys)) == 9


def test_single_precision():
    examples = stream(
        jax.random.key(0), jnp.arange(2), Sarsa(d=3), RandomMDPs(S, A), 2, N, jnp.float32
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(examples)} == {np.dtype("float32")}
