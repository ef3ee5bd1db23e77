"""Claims about the numbers that a page prints, which hold at the sizes that it prints them for."""

from types import TracebackType
from typing import Any


class AsPrinted:
    """A `with` block for assertions about a page's own numbers.

    At the page's settings a failing assertion is an error, as everywhere. With other
    settings it steps aside: what was asserted is about other numbers, so that it is
    said, and the page runs on.

    Args:
        settings: by name, a pair: the value in use, and the one that the page was written for.

    Raises:
        ValueError: if there is no setting, or one is not a pair.
    """

    def __init__(self, **settings: tuple[Any, ...]) -> None:
        if not settings:
            raise ValueError("settings must name at least one, got none")
        for name, pair in settings.items():
            if len(pair) != 2:
                raise ValueError(f"{name} must be a pair (in use, printed), got {pair!r}")
        self.changed = {
            name: (here, printed) for name, (here, printed) in settings.items() if here != printed
        }

    @property
    def holds(self) -> bool:
        """Whether every setting is the page's own."""
        return not self.changed

    def __enter__(self) -> "AsPrinted":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self.holds or not isinstance(error, AssertionError):
            return False
        changes = ", ".join(
            f"{name} = {here}, not {was}" for name, (here, was) in self.changed.items()
        )
        reason = str(error).strip().partition("\n")[0]
        print(f"Not held here ({changes}): a claim of the page fails{reason and ': ' + reason}.")
        return True
