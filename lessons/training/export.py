"""A trained LipNet as an ONNX file, which runs without torch: in a browser, on a phone, in other languages.

``python -m lessons export lipnet_small_synthetic reader.onnx``

An exporter traces the model on one clip and records the operations. Whatever was a plain number then, such as
the number of frames, may be a constant in the file, without any warning. So a file is kept only after it has
given the same logits as torch for clips of other lengths.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from lessons.ctc.alphabet import ALPHABET
from lessons.files import atomic
from lessons.lipreading.build import from_config
from lessons.lipreading.lipnet import LipNet
from lessons.training import checkpoint

TRACED = 30  # frames of the clip that the exporter sees
CHECKED = (20, 75)  # frames of the clips that the file must read after that
TOLERANCE = 1e-3  # of a logit; those of a trained model reach 20
MIN_HALF_WEIGHTS = 1024  # weights: tensors of fewer are not worth storing in half precision
INSTALL = 'pip install -c constraints.txt -e ".[dev]"'


class ExportError(ValueError):
    """The file does not compute what the model computes."""


class OnnxReader:
    """A model in an ONNX file, run by onnxruntime: clips (B, C, T, H, W) -> logits (T * upsample, B, V).

    Args:
        path: a file with one input and one output, both float32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ONNX file, or cut short.
        ImportError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        runtime = need("onnxruntime")
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file")
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # errors become exceptions: they need not be on the screen too
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ValueError(f"{path}: not an ONNX file, or cut short ({str(error)[:100]})") from error
        self.about = dict(self.session.get_modelmeta().custom_metadata_map)

    def __call__(self, x: Tensor) -> Tensor:
        """Read clips.

        Raises:
            ValueError: the file does not take clips of this shape.
        """
        name = self.session.get_inputs()[0].name
        try:
            return torch.from_numpy(self.session.run(None, {name: x.numpy()})[0])
        except Exception as error:
            raise ValueError(f"the file refuses a tensor of shape {tuple(x.shape)}: {error}") from error


def to_onnx(model: LipNet, path: str | Path, half: bool = False) -> dict[int, float]:
    """Write ``model`` as an ONNX file for any number of frames and clips, and check its outputs.

    The file's input ``clip`` (B, C, T, H, W) is normalized as in ``lessons.data.batch.normalize``, its output
    ``logits`` is (T * upsample, B, V). Its metadata hold the alphabet.

    Args:
        model: may stay on a GPU and in ``train`` mode; a copy of it is exported.
        path: ends in ``.onnx``; written whole or not at all.
        half: store the weights in float16: half the bytes. They are computed with in float32. The file is
            compared with the model of the rounded weights, and one that :func:`checkpoint.save` stored in
            half precision loses nothing.

    Returns:
        clip length -> the largest difference between a logit of the file and torch's.

    Raises:
        ExportError: the file's logits differ from torch's; nothing is written.
        ImportError: onnx or onnxruntime is not installed.
    """
    if Path(path).suffix != ".onnx":
        raise ValueError(f"{path}: expected a name that ends in .onnx")
    onnx = need("onnx")
    need("onnxruntime")
    twin = from_config(**model.config)  # torch's layers: one GRU operation in the file, not T steps
    twin.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
    twin.eval()
    if half:
        with torch.no_grad():
            for value in (*twin.parameters(), *twin.buffers()):
                if value.is_floating_point():
                    value.copy_(value.half())
    clip = torch.zeros(1, model.in_channels, TRACED, *model.frame_size)  # (B, C, T, H, W)
    with atomic(path) as part:
        with quiet():
            torch.onnx.export(
                twin,
                (clip,),
                str(part),
                input_names=["clip"],
                output_names=["logits"],
                dynamic_axes={"clip": {0: "clips", 2: "frames"}, "logits": {0: "steps", 1: "clips"}},
                training=torch.onnx.TrainingMode.PRESERVE,  # see store_half
                dynamo=False,  # the newer exporter fixes T in torch 2.13 (notebook 17)
            )
        graph = onnx.load(str(part))
        normalized = "mean 0, standard deviation 1 over a clip"
        about = {**model.config, "alphabet": ALPHABET.symbols, "input": normalized}
        onnx.helper.set_model_props(graph, {key: json.dumps(value) for key, value in about.items()})
        if half:
            store_half(graph)
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, str(part))
        return compare(twin, OnnxReader(part))


def compare(
    model: LipNet, reader: OnnxReader, tolerance: float = TOLERANCE, lengths: Sequence[int] = CHECKED
) -> dict[int, float]:
    """Let both read clips of each length, one alone and two at once.

    Returns:
        clip length -> largest difference of a logit.

    Raises:
        ExportError: a length that the file does not read, or another answer.
    """
    found = {}
    for n_frames in lengths:
        generator = torch.Generator().manual_seed(n_frames)
        x = torch.randn(2, model.in_channels, n_frames, *model.frame_size, generator=generator)
        worst = 0.0
        for clips in (x[:1], x):  # (B, C, T, H, W)
            with torch.no_grad():
                expected = model(clips)  # (T * upsample, B, V)
            try:
                logits = reader(clips)
            except ValueError as error:
                raise ExportError(f"{n_frames} frames: {error}") from error
            if logits.shape != expected.shape:
                raise ExportError(
                    f"{n_frames} frames: logits {tuple(logits.shape)}, expected {tuple(expected.shape)}: "
                    "was the number of frames fixed when the model was exported?"
                )
            difference = (logits - expected).abs().max().item()
            if not difference <= tolerance:  # so that NaN is refused
                raise ExportError(
                    f"{n_frames} frames: a logit differs from torch's by {difference:.2g}, "
                    f"expected at most {tolerance:g}"
                )
            worst = max(worst, difference)
        found[n_frames] = worst
    return found


def store_half(graph: object) -> None:
    """Store the large float32 weights of an ONNX model as float16, in place; a Cast makes them float32 again.

    onnxruntime does the casts once, when it opens the file. The exporter would fold each norm into its
    convolution, whose weights are then no float16 numbers any more: rounded, they moved a logit by 0.07. So
    :func:`to_onnx` keeps the norms, and onnxruntime folds them.

    Raises:
        ExportError: a weight that float16 cannot hold exactly.
    """
    onnx = need("onnx")
    casts = []
    for weight in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != "float32" or values.size < MIN_HALF_WEIGHTS:
            continue
        name, stored = weight.name, values.astype("float16")
        if not (stored == values).all():
            raise ExportError(f"{name}: not a float16 tensor; was a weight computed when it was exported?")
        weight.CopyFrom(onnx.numpy_helper.from_array(stored, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def fold_norm(conv: nn.Conv3d, norm: nn.BatchNorm3d) -> nn.Conv3d:
    """One convolution that does what ``conv`` and then ``norm``, in ``eval`` mode, do.

    There the norm is a line for each channel, scale · y + shift, with scale = γ / √(variance + ε). A filter
    takes up a scale, a bias takes up a shift.
    """
    folded = nn.Conv3d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
        conv.groups,
    ).to(conv.weight.dtype)  # fmt: skip
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # (O,)
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias  # (O,)
    with torch.no_grad():
        folded.weight.copy_(conv.weight * scale[:, None, None, None, None])  # (O, C, kt, kh, kw)
        folded.bias.copy_((bias - norm.running_mean) * scale + norm.bias)
    return folded.eval()


def need(package: str) -> ModuleType:
    """Import what only an export needs.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    # Read when onnxruntime is imported: without it, a session writes a device id into the home folder and
    # looks up a host to report to. (`onnxruntime.disable_telemetry_events()` comes too late for both.)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"{package} is not installed: an export needs it. {INSTALL}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back the exporter's many remarks: what they warn of is tested."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def main(argv: list[str] | None = None) -> int:
    """Export a model; 1 when that could not be done, and why is on standard error."""
    parser = argparse.ArgumentParser(prog="python -m lessons export", description=__doc__.split("\n")[0])
    parser.add_argument("model", help=f"a .safetensors file, or one of {', '.join(checkpoint.TRAINED)}")
    parser.add_argument("out", type=Path, help="the file to write, such as reader.onnx")
    parser.add_argument("--half", action="store_true", help="store the weights in float16: half the bytes")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        found = to_onnx(checkpoint.load(args.model), args.out, args.half)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    read = ", ".join(f"{n} frames: off by {worst:.1g}" for n, worst in found.items())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, read by onnxruntime as by torch ({read})")
    return 0
