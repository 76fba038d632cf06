"""Every piece that we wrote beside the one that torch brings: ``python -m lessons bench``.

The ratio is our time over theirs, forward and backward unless the name says otherwise: below 1, ours is the
faster. How it is measured: :mod:`lessons.measure.timing`. No test depends on a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

import lessons
from lessons.ctc import ctc_loss
from lessons.files import check_writable, write_json
from lessons.layers import conv3d
from lessons.layers.bottleneck_lstm import BottleneckLSTMCell, gates_apart
from lessons.layers.conv_lstm import ConvLSTMCell
from lessons.layers.gru import GRU
from lessons.lipreading.lipnet import LipNet, fastest_layers
from lessons.lipreading.plain_lipnet import PlainLipNet, plain_step
from lessons.measure.timing import Work, compare, machine
from lessons.training.optimizer import make_optimizer
from lessons.training.precision import best_precision, logits_of
from lessons.training.settings import Settings

FRAMES = 75  # T of LipNet


@dataclass(frozen=True)
class Pair:
    """The same work done twice: by ours, and by what it is measured against, whose name is ``against``."""

    ours: Work
    theirs: Work
    against: str


def ctc_pair(batch_size: int, device: torch.device, ours: Callable[..., Tensor] = ctc_loss) -> Pair:
    """The loss and the logits' gradient, on sentences of 20 to 31 labels."""
    logits = torch.randn(FRAMES, batch_size, 28, device=device)  # (T, B, V)
    targets = torch.randint(1, 28, (batch_size, 31), device=device)  # (B, Lmax)
    lengths = torch.full((batch_size,), FRAMES, device=device)  # (B,)
    target_lengths = torch.randint(20, 32, (batch_size,), device=device)  # (B,)

    def gradient(loss: Callable[..., Tensor]) -> Work:
        def work() -> tuple[Tensor]:
            leaf = logits.clone().requires_grad_()
            total = loss(leaf.log_softmax(-1), targets, lengths, target_lengths, reduction="sum")
            return torch.autograd.grad(total, leaf)

        return work

    return Pair(gradient(ours), gradient(F.ctc_loss), "F.ctc_loss")


def triton_pair(batch_size: int, device: torch.device) -> Pair:
    """The same by our Triton kernels, which exist on a GPU alone."""
    from lessons.ctc import loss_triton as ctc_triton

    return ctc_pair(batch_size, device, ctc_triton.ctc_loss)


def gru_pair(
    batch_size: int, device: torch.device, backward: bool = True, bidirectional: bool = False
) -> Pair:
    """LipNet's second GRU: 512 features to a memory of 256."""
    theirs = nn.GRU(512, 256, bidirectional=bidirectional).to(device)
    ours = GRU(512, 256, bidirectional=bidirectional).to(device)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(FRAMES, batch_size, 512, device=device, requires_grad=backward)  # (T, B, F)
    return Pair(*(_run(layer, x, backward) for layer in (ours, theirs)), "nn.GRU")


def conv3d_pair(layer: int, device: torch.device) -> Pair:
    """One of LipNet's three convolutions on two clips; the first has no gradient for its input, the clip."""
    channels, filters, size, kernel, stride = (
        (3, 32, (64, 128), (3, 5, 5), (1, 2, 2)),
        (32, 64, (16, 32), (3, 5, 5), (1, 1, 1)),
        (64, 96, (8, 16), (3, 3, 3), (1, 1, 1)),
    )[layer - 1]
    x = torch.randn(2, channels, FRAMES, *size, device=device, requires_grad=layer > 1)  # (B, C, T, H, W)
    theirs = nn.Conv3d(channels, filters, kernel, stride, tuple(k // 2 for k in kernel)).to(device)

    def ours(x: Tensor) -> Tensor:
        return conv3d(x, theirs.weight, theirs.bias, stride, theirs.padding)

    parameters = [theirs.weight, theirs.bias]
    return Pair(_run(ours, x, True, parameters), _run(theirs, x, True), "nn.Conv3d")


def cell_pair(against: str, device: torch.device) -> Pair:
    """A Bottleneck-LSTM, 1024 channels to 256 on a map of 10 x 10, one frame, forward (as it is used).

    "The paper's equations" give each gate a depthwise and a pointwise convolution of its own; the paper's
    Table 1, and our cell, share the depthwise one.
    """
    cell = BottleneckLSTMCell(1024, 256).to(device).eval()
    x = torch.randn(1, 1024, 10, 10, device=device)  # (B, C, H, W)
    h, c = torch.randn(2, 1, 256, 10, 10, device=device)  # (B, D, H, W) each

    def frame(run: Callable[..., tuple[Tensor, Tensor]]) -> Work:
        return torch.no_grad()(lambda: run(x, (h, c)))

    if against == "our ConvLSTM":
        return Pair(frame(cell), frame(ConvLSTMCell(1024, 256).to(device).eval()), against)
    other = (
        cell
        if against == "four gates apart"
        else BottleneckLSTMCell(1024, 256, variant="equation").to(device)
    )
    return Pair(frame(cell), torch.no_grad()(lambda: gates_apart(other, x, h, c)), against)


def lipnet_pair(device: torch.device, precision: torch.dtype) -> Pair:
    """A training step of LipNet: the course's against the one commonly ported, in float32.

    On two clips; on a GPU on 32, which fill it.
    """
    clips = 32 if device.type == "cuda" else 2
    ours = LipNet(layers=fastest_layers(device)).to(device, memory_format=torch.channels_last_3d)
    plain = PlainLipNet().load(ours).to(device)
    x = torch.randn(clips, 3, FRAMES, 64, 128, device=device)  # (B, C, T, H, W)
    targets = torch.randint(1, 28, (clips, 25), device=device)  # (B, L)
    lengths, target_lengths = (torch.full((clips,), n) for n in (FRAMES, 25))  # on the CPU, as in training
    optimizer, plain_optimizer = make_optimizer(ours, Settings()), torch.optim.Adam(plain.parameters(), 1e-4)

    def step() -> float:
        optimizer.zero_grad()
        log_probs = logits_of(ours, x, lengths, precision).float().log_softmax(-1)  # (T, B, V)
        loss = F.ctc_loss(log_probs, targets, lengths, target_lengths)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Pair(step, lambda: plain_step(plain, plain_optimizer, x, targets, target_lengths), "a plain port")


WORKS: dict[str, Callable[[torch.device], Pair]] = {
    **{f"ctc B{n}": lambda device, n=n: ctc_pair(n, device) for n in (16, 32, 64)},
    **{f"gru B{n}": lambda device, n=n: gru_pair(n, device) for n in (8, 32)},
    **{f"gru B{n} forward": lambda device, n=n: gru_pair(n, device, backward=False) for n in (8, 32)},
    **{f"gru B{n} both ways": lambda device, n=n: gru_pair(n, device, bidirectional=True) for n in (8, 32)},
    **{f"conv3d conv{n}": lambda device, n=n: conv3d_pair(n, device) for n in (1, 2, 3)},
    "bottleneck-lstm": lambda device: cell_pair("our ConvLSTM", device),
    "bottleneck-lstm gates": lambda device: cell_pair("four gates apart", device),
    "bottleneck-lstm equations": lambda device: cell_pair("the paper's equations", device),
    "lipnet step": lambda device: lipnet_pair(device, best_precision(device)),
    "lipnet step float32": lambda device: lipnet_pair(device, torch.float32),
}


def works(device: torch.device) -> dict[str, Callable[[torch.device], Pair]]:
    """The pieces that there are on ``device``."""
    if device.type != "cuda":
        return WORKS
    return {**WORKS, **{f"ctc triton B{n}": lambda device, n=n: triton_pair(n, device) for n in (32, 64)}}


def measure(names: Iterable[str], device: torch.device, pairs: int = 15, progress: bool = True) -> list[dict]:
    """One row for each of ``names``: a :class:`lessons.measure.timing.Comparison`, and the machine."""
    about = machine(device)
    rows = []
    for name in tqdm(list(names), unit="piece", disable=not progress):
        torch.manual_seed(0)
        pair = works(device)[name](device)
        found = compare(pair.ours, pair.theirs, device, pairs)
        rows.append({"name": name, "against": pair.against, **asdict(found), **about})
    return rows


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| piece | against | ratio (quartiles) | ours, ms | theirs, ms | ours, MiB | theirs, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["spread"]
        cells = [row["name"], row["against"], f"{row['ratio']:.2f} ({low:.2f}-{high:.2f})"]
        cells += [f"{row[key]:.3g}" for key in ("ours_ms", "theirs_ms", "ours_mib", "theirs_mib")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table, and write the rows where ``--json`` says."""
    parser = argparse.ArgumentParser(prog="python -m lessons bench", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=["*"], help="names, or patterns such as 'ctc*'")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--pairs", type=int, default=15, help="measurements of each (default 15)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    args = parser.parse_args(argv)
    for name in ("pairs", "threads"):
        if getattr(args, name) < (2 if name == "pairs" else 1):
            parser.error(f"--{name} is {getattr(args, name)}: too few")
    there_are = works(lessons.device())
    names = [name for name in there_are if any(fnmatchcase(name, pattern) for pattern in args.only)]
    if not names:
        parser.error(f"--only {' '.join(args.only)}: no such piece; there are {', '.join(there_are)}")
    if args.json:
        check_writable(args.json)
    torch.set_num_threads(args.threads)
    rows = measure(names, lessons.device(), args.pairs)
    print(table(rows))
    first = rows[0]
    print(f"\n{first['device']}, {first['threads']} thread(s), torch {first['torch']}")
    if args.json:
        write_json(args.json, rows)


def _run(layer: Callable, x: Tensor, backward: bool, parameters: list[Tensor] | None = None) -> Work:
    """Forward, and with ``backward`` all gradients of the layer."""
    if parameters is None:
        parameters = list(layer.parameters())
    leaves = [*parameters, x] if x.requires_grad else parameters

    def first(result: Tensor | tuple) -> Tensor:
        return result if isinstance(result, Tensor) else result[0]

    if not backward:
        return torch.no_grad()(lambda: first(layer(x)))
    return lambda: torch.autograd.grad(first(layer(x)).sum(), leaves)
