"""Algorithm 1 as one would first write it in PyTorch: autograd, its Adam and its StepLR.

    python -m benchmarks.eager_torch --updates 2000 --threads 1 2

The windows come from `eager.py`'s NumPy environment, whose draws are faster than tensors'.
Needs PyTorch and NumPy, and nothing of icrl_flax or JAX; PyTorch is no dependency of the
project. Prints one line of JSON for each number of threads.
"""

import argparse
import json
import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks import eager

WINDOWS, LENGTH = 50, 20  # updates for each MDP, transitions for each window


class Block(torch.nn.Module):
    """The answer u + V̄21 Σ̂ P12 w̃ of a linear block (Lemma C.1)."""

    def __init__(self, P12: torch.Tensor, V21: torch.Tensor) -> None:
        super().__init__()
        self.P12, self.V21 = torch.nn.Parameter(P12), torch.nn.Parameter(V21)

    def forward(self, tokens: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        w = torch.cat([u.new_ones(1), u])
        scores = tokens @ (self.P12 @ w)
        return u + self.V21 @ (tokens.T @ scores) / len(tokens)


def examples(
    rng: np.random.Generator, rule: eager.Sarsa, dtype: torch.dtype
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(tokens, u, target) of each window in the life of one MDP; SARSA's step without loops."""
    mdp = eager.draw_mdp(rng)
    phi = rule.draw_features(rng, mdp)
    w, table = rng.uniform(-1, 1, rule.q), torch.as_tensor(phi, dtype=dtype)
    state = eager.choose(rng, mdp.initial)
    u = torch.as_tensor(w, dtype=dtype)
    for _ in range(WINDOWS):
        behaviour = rule.behaviour(phi, u.numpy())
        states, actions, rewards = eager.rollout(rng, mdp, behaviour, state, LENGTH)
        visited = table[states, actions]
        now, then = visited[:-1], mdp.gamma * visited[1:]
        reward = torch.as_tensor(rewards, dtype=dtype)
        errors = reward + then @ u - now @ u
        target = u + rule.alpha / LENGTH * (now.T @ errors)
        yield torch.cat([now, then, reward[:, None]], dim=1), u, target
        u, state = target, states[-1]


class Run:
    """A block, torch's Adam and its schedule; one update for each call.

    Args:
        theta: P12 and V̄21 at the start.
        rate: learning rate.
        every: updates between two steps of the schedule, which multiply the rate by 0.99.
    """

    def __init__(
        self, theta: tuple[torch.Tensor, torch.Tensor], rate: float = 1e-3, every: int = 500
    ) -> None:
        self.block = Block(*theta)
        self.optimizer = torch.optim.Adam(self.block.parameters(), lr=rate)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, every, gamma=0.99)

    def update(self, tokens: torch.Tensor, u: torch.Tensor, target: torch.Tensor) -> float:
        """The loss before the update."""
        self.optimizer.zero_grad()
        loss = ((self.block(tokens, u) - target) ** 2).sum() / 2
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


def seconds_per_update(updates: int) -> float:
    """Of Algorithm 1 for SARSA at the paper's sizes, data included, without start-up."""
    rng, rule = np.random.default_rng(0), eager.Sarsa()
    P12, V21 = eager.draw_theta(rng, rule.p, rule.q)
    run = Run(
        (torch.as_tensor(P12, dtype=torch.float32), torch.as_tensor(V21, dtype=torch.float32))
    )

    def live(mdps: int) -> None:
        for _ in range(mdps):
            for example in examples(rng, rule, torch.float32):
                run.update(*example)

    live(1)  # the first calls are slower
    mdps = updates // WINDOWS
    began = time.perf_counter()
    live(mdps)
    return (time.perf_counter() - began) / (mdps * WINDOWS)


def main() -> None:
    """Time it with each number of threads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    for threads in options.threads:
        torch.set_num_threads(threads)
        seconds = seconds_per_update(options.updates)
        print(
            json.dumps(
                {
                    "name": "eager PyTorch",
                    "rule": "sarsa",
                    "unit": "µs per update",
                    "threads": threads,
                    "torch": torch.__version__,
                    "value": 1e6 * seconds,
                },
                ensure_ascii=False,
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
