"""Work in several processes that end when their parent ends, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")
NO_GUARD = (
    "{script}: each worker process imports this script, and would start it again. Put its work under "
    "`if __name__ == '__main__':`, or use workers=1"
)

MOST = 61  # Windows waits for no more processes


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, setup: Callable[[], None]
) -> Iterator[Result]:
    """Yield ``work(item)`` of each item as it is done, in processes that call ``setup`` first.

    Raises:
        OSError: processes cannot be made, or one was killed.
        RuntimeError: the script that was started imports itself in each process, for want of a main guard.
    """
    if workers == 1 or not items:
        yield from map(work, items)
        return
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # This is a worker, importing its parent's script; the parent says so once it sees it ended. It must
        # not make semaphores first: stopped with them, it leaves a warning below the parent's error.
        raise RuntimeError("a worker process imports the script that started it, which would start it again")
    finished = 0
    # Fresh processes: a forked one may inherit the locks of its parent's threads.
    context = multiprocessing.get_context("spawn")
    try:
        pool = ProcessPoolExecutor(
            min(workers, len(items), MOST), context, initializer=_start, initargs=(setup,)
        )
    except OSError as error:  # for one when /dev/shm is full or read-only
        raise OSError(f"no worker processes can be made here ({error}): use --workers 1") from error
    with pool:
        try:
            futures = [pool.submit(work, item) for item in items]
            for future in as_completed(futures):
                yield future.result()
                finished += 1
        except BrokenProcessPool as error:
            script = _script_without_main_guard()
            if finished == 0 and script:
                raise RuntimeError(NO_GUARD.format(script=script)) from error
            raise OSError("a worker was killed, perhaps out of memory; try fewer --workers") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start(setup: Callable[[], None]) -> None:
    """Run first in each worker."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    setup()


def _end_with_parent() -> None:
    """Wait until the parent has ended, killed or not, and end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _script_without_main_guard() -> Path | None:
    """Return the script that was started, if it is one and does not ask whether it is ``__main__``."""
    script = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    if not script.is_file() or "__main__" in script.read_text(encoding="utf-8", errors="replace"):
        return None
    return script
