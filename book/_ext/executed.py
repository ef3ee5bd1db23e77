"""Pages of chapters follow their execution: read again after it, and marked before it.

Sphinx reads a page again when its text has changed; here it also does when
`tools/execute.py` has executed it anew. The chapters that ICRL_PENDING names are still
to be executed.
"""

import os
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import ExtensionMetadata

NOTE = """\

:::{note}
This chapter is being executed. Its results appear here as soon as it is done: load the page again.
:::

"""


def states(env: BuildEnvironment) -> dict[str, str]:
    """What each chapter's page shows: the key of its execution, or that it is to come."""
    pending = os.environ.get("ICRL_PENDING", "").split()
    folder = Path(env.srcdir) / "_build" / "notebooks"
    found = {}
    for name in env.found_docs:
        key = folder / f"{Path(name).name}.key.json"
        if name.startswith("notebooks/") and (key.exists() or Path(name).name in pending):
            found[name] = "to come" if Path(name).name in pending else key.read_text()
    return found


def outdated(
    _app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]
) -> list[str]:
    """Name the pages whose chapters have been executed since they were read."""
    before, now = getattr(env, "executed_states", {}), states(env)
    env.executed_states = now  # type: ignore[attr-defined]
    return [name for name, state in now.items() if before.get(name) != state]


def mark(app: Sphinx, name: str, source: list[str]) -> None:
    """Say at the top of a page that its chapter is still to be executed."""
    if getattr(app.env, "executed_states", {}).get(name) == "to come":
        title = source[0].index("\n", source[0].index("\n# ") + 1)
        source[0] = source[0][:title] + "\n" + NOTE + source[0][title:]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect with Sphinx."""
    app.connect("env-get-outdated", outdated)
    app.connect("source-read", mark)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
