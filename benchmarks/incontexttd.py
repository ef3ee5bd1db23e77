"""InContextTD (Wang et al., arXiv:2405.13861) beside `icrl_flax train`: times, what each finds.

    git clone https://github.com/Sequential-Intelligence-Lab/InContextTD
    python -m benchmarks.incontexttd train InContextTD --mrps 25 --seed 0 --out theirs/0
    python -m benchmarks.incontexttd measure theirs/*

`train` calls the function `train` of their checkout with the defaults of their `main.py`,
and prints the seconds. It needs what their code needs: PyTorch, NumPy, SciPy, tqdm.
`measure` reads the weights that their code has logged, and measures them on the held-out
chains of `experiments/trained_depth.py`, as the blocks of that script are measured.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def train(checkout: Path, layers: int, mrps: int, seed: int, threads: int, out: Path) -> None:
    """Their main job: seconds in all and per MRP, without import."""
    import torch

    torch.set_num_threads(threads)
    sys.path.insert(0, str(checkout.resolve()))
    theirs = importlib.import_module("experiment.train").train
    began = time.perf_counter()
    theirs(d=4, s=10, n=30, l=layers, n_mrps=mrps, random_seed=seed, save_dir=str(out))
    seconds = time.perf_counter() - began
    record = {"layers": layers, "mrps": mrps, "seed": seed, "threads": threads}
    record |= {"seconds": seconds, "ms per MRP": 1e3 * seconds / mrps}
    print(json.dumps(record | {"torch": torch.__version__}))


def measure(runs: list[Path], mrps: list[int]) -> None:
    """Means over held-out chains, beside TD with the step size that their code has trained."""
    import jax.numpy as jnp
    import numpy as np

    sys.path.insert(0, str(ROOT / "experiments"))
    experiment = importlib.import_module("trained_depth")
    from icrl_flax.attention import Matrices, QueryBlock
    from icrl_flax.experiments import mean_interval

    cases = experiment.held_out()
    for at in mrps:
        rows = []
        for run in runs:
            log = np.load(run / "data.npz")
            layers = json.loads((run / "params.json").read_text(encoding="utf-8"))["l"]
            index = int(np.flatnonzero(log["xs"] == at)[0])
            # Their Q stands between the columns, their P before them.
            theta = Matrices(P=jnp.asarray(log["Q"][index, 0]), V=jnp.asarray(log["P"][index, 0]))
            block = QueryBlock(theta, 2 * experiment.RULE.d, layers)
            sweeps = experiment.Constructed(jnp.asarray(log["alpha"][index]), layers)
            found = experiment.measured(block, sweeps, cases)
            rows.append([float(found[name]) for name in experiment.COLUMNS])
        for name, column in zip(experiment.COLUMNS, np.array(rows).T, strict=True):
            record = {"mrps": at, "runs": len(rows), "measure": name}
            print(json.dumps(record | mean_interval(column)._asdict(), default=float))


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("train", help=train.__doc__)
    first.add_argument("checkout", type=Path)
    first.add_argument("--layers", type=int, default=3)
    first.add_argument("--mrps", type=int, default=5000)
    first.add_argument("--seed", type=int, default=0)
    first.add_argument("--threads", type=int, default=1)
    first.add_argument("--out", type=Path, required=True)
    second = commands.add_parser("measure", help=measure.__doc__)
    second.add_argument("runs", type=Path, nargs="+")
    second.add_argument("--mrps", type=int, nargs="+", default=[250, 500])
    options = vars(parser.parse_args())
    command = {"train": train, "measure": measure}[options.pop("command")]
    command(**options)


if __name__ == "__main__":
    main()
