"""Train both of the paper's rules from ten seeds, and write the blocks into weights/.

Run it with `make weights`. On one machine it writes the same weights every time.
"""

from pathlib import Path

import icrl_flax as icrl

FOLDER = Path(__file__).resolve().parent.parent / "weights"
RULES = (icrl.Sarsa(), icrl.ActorCritic())
SEEDS = range(10)


def main() -> None:
    """Write twenty files."""
    for rule in RULES:
        for seed in SEEDS:
            run = icrl.train(rule, config=icrl.TrainingConfig(seed=seed), throw=True)
            path = run.save(FOLDER / f"{rule.name()}-{seed}", weights_only=True)
            print(f"{path.name}: cosine {run.alignment().cosine:.10f}")


if __name__ == "__main__":
    main()
