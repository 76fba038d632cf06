"""What each process of test_distributed.py does: ``torchrun ... tests/training/two_processes.py FOLDER``."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from lessons.cli import train as command
from lessons.data.clips import ClipSet
from lessons.lipreading import LipNet, SmallLipNet
from lessons.training.distributed import ALONE, Processes, join
from lessons.training.lipnet import train
from lessons.training.settings import Settings
from lessons.training.whole_batch import use_whole_batch

CPU = torch.device("cpu")
# 10 clips in batches of 3: three times 2 + 1, then 1 + none, for two processes. 5 to validate: 3 + 2.
SETTINGS = Settings(epochs=3, batch_size=3, learning_rate=4e-3, warmup_steps=3, average=0.9)


def clips(n: int, seed: int) -> ClipSet:
    """Bright bars, one a word; lengths and numbers of words differ, so that a mean of means is found out."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, 13, n)
    frames = np.zeros((n, 12, 16, 32), dtype=np.uint8)
    sentences, segments = [], []
    for clip, length in zip(frames, lengths, strict=True):
        clip[:length] = rng.integers(0, 60, (length, 16, 32))
        words = ["ab"[rng.integers(2)] for _ in range(rng.integers(1, 3))]
        for i, word in enumerate(words):
            column = {"a": 4, "b": 20}[word]
            clip[3 * i : 3 * i + 3, :, column : column + 8] = 200
        sentences.append(" ".join(words))
        spoken = [(3.0 * i, 3.0 * i + 3, word) for i, word in enumerate(words)]
        segments.append((*spoken, (3.0 * len(words), float(length), "sil")))
    ids = tuple(f"bar{i}" for i in range(n))
    return ClipSet(frames, lengths, ids, tuple(sentences), tuple(segments))


def tiny(seed: int = 0) -> LipNet:
    torch.manual_seed(seed)
    return SmallLipNet(1, (16, 32), (4, 6, 8), 6, projection=16, dropout=0.3)


def run(settings: Settings, out: Path | None, processes: Processes = ALONE, seed: int = 0) -> dict:
    """Train the tiny model; what it came to."""
    model = tiny(seed)
    average, rows = train(
        model, clips(10, 0), clips(5, 1), settings, out, CPU, torch.float32, False, processes
    )
    return {"model": model.state_dict(), "average": average.state_dict(), "rows": rows}


class Layers(nn.Module):
    """All that looks at more than one clip, in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block = nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout3d(0.4))
        self.dropout, self.head = nn.Dropout(0.3), nn.Linear(4 * 2 * 3, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x).permute(2, 0, 1, 3, 4).flatten(2)  # (T, B, F)
        return self.head(self.dropout(x))  # (T, B, 3)


def layers(n_clips: int, processes: Processes = ALONE) -> dict[str, Tensor]:
    """Loss, gradients and statistics of one batch."""
    model = Layers()
    next_part = use_whole_batch(model, processes)
    x = torch.randn(n_clips, 2, 5, 4, 5, dtype=torch.float64)  # (B, C, T, H, W)
    wanted = torch.randn(3, n_clips, 3, dtype=torch.float64)  # (T, B, 3)
    part = processes.part(n_clips)
    next_part(part)
    torch.manual_seed(1)
    answers = model(x[list(part.places)])
    loss = (answers - wanted[:, list(part.places)]).square().mean() * part.share([1.0] * n_clips)
    loss.backward()
    processes.add_gradients(model.parameters())
    found = {name: p.grad for name, p in model.named_parameters()}
    return {**found, **dict(model.named_buffers()), "loss": torch.tensor(processes.total(loss.item()))}


def together(folder: Path) -> None:
    """All that two processes do; at the end one of them stops."""
    with join() as processes:
        found = {f"layers {n}": layers(n, processes) for n in (5, 4, 1)}
        found["whole"] = run(SETTINGS, folder / f"written by {processes.rank}", processes)
        found["resumed"] = run(SETTINGS, folder / "one process began", processes)
        found["shares"] = processes.gather(processes.share(list(range(7))))
        try:
            run(SETTINGS, None, processes, seed=processes.rank)
        except ValueError as error:
            found["other weights"] = str(error)
        command.PRESETS["small"] = (tiny, (16, 32), SETTINGS)
        command.load_clips = lambda *_: (clips(10, 0), clips(5, 1))
        command.grammar_texts = lambda log_probs, _: ["a"] * log_probs.shape[1]
        command.join = lambda: nullcontext(processes)  # torch joins once in the life of a process
        command.main(["--out", str(folder / "command"), "--epochs", "1", "--threads", "1"])
        torch.save(found, folder / f"rank{processes.rank}.pt")
        fall_silent(folder / "cut", processes)


def fall_silent(out: Path, processes: Processes) -> None:
    """In the middle of the second epoch the second process falls silent; the first has less patience."""
    steps, step = 0, torch.optim.AdamW.step

    def silent(self, *args, **kwargs):
        nonlocal steps
        steps += 1
        if steps == 6 and processes.first:
            dist.distributed_c10d._set_pg_timeout(timedelta(seconds=2), dist.group.WORLD)
        elif steps == 6:
            time.sleep(600)
        return step(self, *args, **kwargs)

    torch.optim.AdamW.step = silent
    run(SETTINGS, out, processes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        together(Path(sys.argv[1]))
    except OSError as error:  # as in lessons.cli.train
        sys.exit(f"error: {error}")
