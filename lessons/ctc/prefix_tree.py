"""The prefixes of a beam search as a tree (trie) in arrays: a whole beam is looked up at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class PrefixTree:
    """A trie of prefixes: the same prefix is always the same node, even after it left the beam.

    Nodes are integers and the tree is a few arrays indexed by them, so a whole beam is looked up at once.
    """

    ROOT = 0

    def __init__(self, classes: int, room: int = 2048) -> None:
        self._size = 1  # N, the nodes that there are; the tables have room for more
        self._child = np.zeros((room, classes), dtype=np.int32)  # (N, V) ROOT where there is no child yet
        self._parent = np.full(room, -1)  # (N,)
        self._label = np.full(room, -1)  # (N,) the last label of each prefix
        self._row = np.full(room, -1)  # (N,) scratch; the last entry, which is the root's parent, stays -1

    def parent_rows(self, nodes: np.ndarray) -> np.ndarray:
        """Return (P,): positions in ``nodes`` (P,) of each node's parent, -1 where it is not among them."""
        self._row[nodes] = np.arange(len(nodes))
        found = self._row[self._parent[nodes]]  # (P,)
        self._row[nodes] = -1
        return found

    def children(self, nodes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return (K,): the nodes of the prefixes of ``nodes`` (K,) with ``labels`` (K,) after them."""
        while self._size + len(nodes) >= len(self._row):
            self._grow()
        found = self._child[nodes, labels]  # (K,)
        new = np.flatnonzero(found == self.ROOT)
        found[new] = np.arange(self._size, self._size + len(new))
        self._size += len(new)
        self._child[nodes, labels] = found
        self._parent[found], self._label[found] = nodes, labels
        return found

    def spell(self, nodes: Iterable[int]) -> list[list[int]]:
        """Return the prefix of each node."""
        parent, label = self._parent.tolist(), self._label.tolist()  # lists: faster one by one
        prefixes = []
        for node in nodes:
            prefix = []
            while node != self.ROOT:
                prefix.append(label[node])
                node = parent[node]
            prefixes.append(prefix[::-1])
        return prefixes

    def _grow(self) -> None:
        """Twice as many nodes."""
        self._child = np.concatenate((self._child, np.zeros_like(self._child)))
        for name in ("_parent", "_label", "_row"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate((table, np.full_like(table, -1))))
