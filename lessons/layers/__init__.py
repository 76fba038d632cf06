"""The layers that the course builds, each equal to torch's own; ``*_fast`` stands beside the plain file."""

from lessons.layers.bottleneck_lstm import BottleneckLSTM, BottleneckLSTMCell
from lessons.layers.conv3d_fast import conv3d
from lessons.layers.conv_gru import ConvGRU, ConvGRUCell
from lessons.layers.conv_lstm import ConvLSTM, ConvLSTMCell
from lessons.layers.gru import GRU, GRUCell
from lessons.layers.lstm import LSTM, LSTMCell
from lessons.layers.stcnn import STCNN, Conv3d, MaxPool3d, max_pool3d

__all__ = [
    "GRU",
    "LSTM",
    "STCNN",
    "BottleneckLSTM",
    "BottleneckLSTMCell",
    "Conv3d",
    "ConvGRU",
    "ConvGRUCell",
    "ConvLSTM",
    "ConvLSTMCell",
    "GRUCell",
    "LSTMCell",
    "MaxPool3d",
    "conv3d",
    "max_pool3d",
]
