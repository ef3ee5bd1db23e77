"""The eager PyTorch version is Algorithm 1, where PyTorch is: it is no dependency."""

import numpy as np
import pytest

from benchmarks import eager

torch = pytest.importorskip("torch", reason="PyTorch is no dependency")


def test_it_does_what_plain_numpy_does():
    """The same windows, targets and updates, across a step of the rate, in float64."""
    from benchmarks import eager_torch

    rule = eager.Sarsa(d=6)
    mine = list(eager.examples(np.random.default_rng(1), rule, eager_torch.WINDOWS))
    other = list(eager_torch.examples(np.random.default_rng(1), rule, torch.float64))
    for one, two in zip(mine, other, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(b.numpy(), a, rtol=1e-10, atol=1e-12)
    theta = eager.draw_theta(np.random.default_rng(2), rule.p, rule.q)
    adam = eager.Adam(theta, rate=0.01, every=20)
    expected, losses = eager.learn(theta, adam, mine)
    run = eager_torch.Run(tuple(map(torch.tensor, theta)), rate=0.01, every=20)
    np.testing.assert_allclose([run.update(*each) for each in other], losses, rtol=1e-9)
    for block, want in zip(run.block.parameters(), expected, strict=True):
        np.testing.assert_allclose(block.detach().numpy(), want, rtol=1e-8, atol=1e-11)
