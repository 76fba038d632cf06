"""Several processes train one model: each computes a part of every batch, and all keep the same weights.

``torchrun --nproc-per-node 2 -m lessons train ...`` starts the processes; torch.distributed joins them, by
gloo on CPUs and by NCCL on GPUs. One rule decides everything here: the answer is that of one process with the
same batch. A mean over a batch is therefore never a mean of the processes' means, which weighs a clip more
where there are fewer. Each process computes its share of the mean, and the shares are added up.

The gradients are added in one piece after the backward pass. ``DistributedDataParallel`` adds them piece by
piece while that pass still runs, and so hides the time; LipNet's 27 MB leave little to hide
(docs/eight_gpus.md). It averages over processes, though, which is right for parts of equal size alone.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Item = TypeVar("Item")
PATIENCE = timedelta(minutes=10)  # how long a process waits for the others before it gives up


@dataclass(frozen=True)
class Part:
    """One process's clips of a batch.

    Attributes:
        places: their positions in the batch.
        n_clips: clips in the whole batch.
        counts: False in a process for which no clip is left at the end of an epoch. It computes another's
            along with the others, since all of them meet inside the network, but adds nothing to any sum.
    """

    places: Sequence[int]
    n_clips: int
    counts: bool = True

    def share(self, amounts: Sequence[float]) -> float:
        """What these clips have of the whole batch's total, 0 to 1, from one amount for each of its clips."""
        mine = sum(float(amounts[place]) for place in self.places) if self.counts else 0.0
        return mine / sum(float(amount) for amount in amounts)


@dataclass(frozen=True)
class Processes:
    """The processes that train together, as one of them sees them. All must call its methods, in one order.

    Attributes:
        rank: which one this is, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Is this the one that writes files and shows progress?"""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's items, every ``size``-th; nobody else has them, and :meth:`gather` undoes it."""
        return items[self.rank :: self.size]

    def part(self, n_clips: int) -> Part:
        """This process's clips of a batch of ``n_clips``."""
        places = self.share(range(n_clips))
        return Part(places, n_clips) if places else Part([self.rank % n_clips], n_clips, counts=False)

    def add(self, x: Tensor) -> Tensor:
        """The sum of the processes' tensors, with its gradient: each ``x`` is in the sum of every process."""
        return x if self.size == 1 else _Sum.apply(x)

    def total(self, value: float) -> float:
        """The sum of the processes' numbers."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        return _all_reduce(torch.tensor(value, dtype=torch.float64, device=device)).item()

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients of this part's share of the loss by those of the whole batch's loss."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        whole = _all_reduce(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, added in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(added.view_as(gradient))

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """All items in the order they had before :meth:`share`, from each process's own."""
        return interleave(self._collect(items))

    def agree(self, about: dict[str, Any]) -> None:
        """Check that all processes start from the same.

        Raises:
            ValueError: in all of them; it says what differs, and where.
        """
        everyone = self._collect(about)
        for key in about:
            for rank, other in enumerate(everyone):
                if other[key] != everyone[0][key]:
                    raise ValueError(
                        f"{key} is {other[key]} in process {rank}, {everyone[0][key]} in process 0: give all "
                        "processes the same arguments, the same clips, and an --out that each can read"
                    )

    def _collect(self, mine: Item) -> list[Item]:
        """Every process's item, by rank."""
        items = [mine] * self.size
        if self.size > 1:
            with _patience():
                dist.all_gather_object(items, mine)
        return items


ALONE = Processes()


@contextmanager
def join() -> Iterator[Processes]:
    """Join the processes that torchrun started, for as long as the block runs; without torchrun, be alone.

    Yields:
        the processes. Where there are GPUs, ``"cuda"`` then means this process's own.

    Raises:
        ValueError: fewer GPUs than processes on a machine, or a torch that was built without distributed
            or cannot join processes on this system.
        ConnectionError: in the block, when another process did not answer within ``PATIENCE``.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ALONE
        return
    if not dist.is_available():
        raise ValueError(f"{size} processes, but this torch cannot join them: torch.distributed is missing")
    backend = "gloo"
    if torch.cuda.is_available():
        backend, gpu, n_gpus = "nccl", int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if gpu >= n_gpus:
            raise ValueError(
                f"process {gpu} of this machine has no GPU, there are {n_gpus}: start torchrun with "
                f"--nproc-per-node {n_gpus}, or hide the GPUs with CUDA_VISIBLE_DEVICES= to use the CPU"
            )
        torch.cuda.set_device(gpu)
    with _patience():
        try:
            dist.init_process_group(backend, rank=rank, world_size=size, timeout=PATIENCE)
        except RuntimeError as error:
            if "unsupported gloo device" not in str(error):
                raise
            raise ValueError(
                f"{size} processes, but torch {torch.__version__} cannot join them on this system (some "
                "releases cannot on Windows): start one process, or use Linux, WSL 2 or macOS"
            ) from error
    try:
        yield Processes(rank, size)
    finally:
        dist.destroy_process_group()


def interleave(shares: Sequence[Sequence[Item]]) -> list[Item]:
    """The whole again, from each process's every ``size``-th item."""
    missing = object()
    rounds = itertools.zip_longest(*shares, fillvalue=missing)
    return [item for one in rounds for item in one if item is not missing]


class _Sum(torch.autograd.Function):
    """y = x of process 0 + x of process 1 + ..., the same y everywhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduce(x.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _all_reduce(gradient.clone())


def _all_reduce(x: Tensor) -> Tensor:
    """Add up in place over all processes."""
    with _patience():
        dist.all_reduce(x)
    return x


@contextmanager
def _patience() -> Iterator[None]:
    """Turn torch's many RuntimeErrors for a process that is gone or silent into one ConnectionError."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            f"another process stopped, or did not answer within {PATIENCE.total_seconds():.0f} seconds; its "
            f"own message says why ({str(error).splitlines()[0]})"
        ) from error
