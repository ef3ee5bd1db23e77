"""How far the work is, on standard error: told while somebody listens, never in its way."""

import contextlib

from tqdm import tqdm


class Progress(tqdm):
    """A bar of updates.

    Where a write fails, tqdm keeps its lock, and whoever wants that next waits for
    ever: another thread, or tqdm's own at the end of the process. So this bar has
    no such thread, and goes quiet when standard error is full or its reader gone.
    """

    monitor_interval = 0

    def __init__(self, total: int, done: int = 0, disable: bool = False) -> None:
        """Show `done` of `total` updates at first."""
        super().__init__(
            total=total,
            initial=done,
            disable=disable,
            unit=" updates",
            unit_scale=True,
            mininterval=0.5,
            miniters=1,
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        try:
            super().display(msg, pos)
        except OSError:
            self.disable = True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()
