"""Several processes, on one machine or on many, that share the work of one sweep.

They meet once, through `jax.distributed`, to learn how many they are and which
is which. Then they part: nobody waits for a message from another, so that a
process that is lost takes none with it. What they share is a directory.
"""

from collections.abc import Iterator, Sequence

import jax

_OPTIONS = ("coordinator", "processes", "process")


def meet(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    launched: bool = False,
) -> None:
    """Find the other processes, before JAX has touched any device.

    Afterwards `jax.process_index()` and `jax.process_count()` tell this process
    which one it is, and of how many. It returns when all have come, and does
    nothing if no argument is given.

    Args:
        coordinator: host:port where process 0 listens and the others find it.
        processes: how many there are.
        process: which one this is, from 0.
        launched: read all three from the launcher's environment instead; JAX
            knows Slurm's, Open MPI's and those of some clouds.

    Raises:
        ValueError: if some of the three are given without the others or with
            `launched`, if one is out of range, or if there is no launcher.
        RuntimeError: if JAX has touched a device.
    """
    values = (coordinator, processes, process)
    given = [name for name, value in zip(_OPTIONS, values, strict=True) if value is not None]
    if launched and given:
        raise ValueError(f"launched: the launcher sets {given[0]} itself; give one or the other")
    if not launched and not given:
        return
    if launched:
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(
                "launched: JAX found no launcher that it knows; give coordinator, processes "
                f"and process instead (JAX: {error})"
            ) from error
    else:
        check(coordinator, processes, process)
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            cluster_detection_method="deactivate",
            # By default it would listen on every network of the machine.
            coordinator_bind_address=coordinator if _is_loopback(coordinator) else None,
        )
    jax.process_count()  # the devices are counted now, while the others are there
    # Otherwise JAX ends every process once it misses one.
    jax.distributed.shutdown()


def check(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Refuse anything but a meeting place, a number of processes, and one of them."""
    if coordinator is None or processes is None or process is None:
        values = (coordinator, processes, process)
        missing = [name for name, value in zip(_OPTIONS, values, strict=True) if value is None]
        raise ValueError(
            f"{missing[0]} must be given, since coordinator, processes and process go together; "
            f"got coordinator={coordinator!r}, processes={processes!r}, process={process!r}"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f"coordinator must be host:port with a port from 1 to 65535, got {coordinator!r}"
        )
    if processes < 1:
        raise ValueError(f"processes must be an integer of at least 1, got {processes!r}")
    if not 0 <= process < processes:
        raise ValueError(
            f"process must lie in [0, {processes}), counted from 0 to processes - 1, "
            f"got {process!r}"
        )


def _is_loopback(coordinator: str | None) -> bool:
    host = (coordinator or "").rpartition(":")[0]
    return host in ("localhost", "[::1]") or host.startswith("127.")


def turns(work: Sequence[int], process: int, processes: int) -> Iterator[tuple[int, bool]]:
    """In what order a process takes up pieces of work, and whether each is its own.

    First its share, every so-maniest piece. Then it helps the others, each from
    the end of its share, so that two meet in the middle rather than at the start.
    """
    yield from ((piece, True) for piece in work[process::processes])
    for other in range(process + 1, process + processes):
        yield from ((piece, False) for piece in reversed(work[other % processes :: processes]))
