"""A k-d tree over score vectors: from a handful of scores to a leaf, and from a leaf to a cell.

Leaves are small and many; which of them share a cell of the histogram is decided elsewhere
(`_joint_cells`), and is a look-up.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class ScoreTree(eqx.Module):
    """A complete binary tree of cuts along linear combinations of scores.

    Attributes:
        directions: `[direction, anchor]`, the combinations among which every node chooses.
        chosen: `[node]`, the direction that a node cuts; children of node i are 2i + 1 and 2i + 2.
        thresholds: `[node]`; above goes right.
        labels: `[leaf]`, the cell of each leaf.
    """

    directions: Float[Array, "direction anchor"]
    chosen: Int[Array, " node"]
    thresholds: Float[Array, " node"]
    labels: Int[Array, " leaf"]

    def leaf(self, vector: Float[Array, "event anchor"]) -> Int[Array, " event"]:
        """Return the leaf of each score vector; pure JAX, one look-up a level."""
        turned = vector @ self.directions.T
        count = self.directions.shape[0]
        flat, first = turned.reshape(-1), jnp.arange(vector.shape[0], dtype=jnp.int32) * count
        node = jnp.zeros(vector.shape[0], jnp.int32)
        for _ in range(self.labels.shape[0].bit_length() - 1):
            above = flat[first + self.chosen[node]] > self.thresholds[node]
            node = 2 * node + 1 + above.astype(jnp.int32)
        return node - (self.labels.shape[0] - 1)

    def cell(self, vector: Float[Array, "event anchor"]) -> Int[Array, " event"]:
        """Return the cell of each score vector."""
        return self.labels[self.leaf(vector)]


def grow_tree(vectors: Float[np.ndarray, "event anchor"], classes: Int[np.ndarray, " event"], depth: int) -> ScoreTree:
    """Grow a tree of `2^depth` equally filled leaves; every leaf is its own cell.

    Each node is cut at the median of the direction that separates the classes best (largest
    chi-squared of the halves' class counts). Directions are the scores themselves and their principal
    components: differences of scores say where a nuisance stands.

    Args:
        vectors: scores of unit-weight events, a balanced mixture of the classes.
        classes: what should be told apart: each process at each of several nuisance points.
        depth: number of levels; there are at least `2^depth` events.
    """
    leaves = 2**depth
    count = len(vectors) // leaves * leaves
    kinds = int(classes.max()) + 1
    directions = _directions(vectors)
    values = np.ascontiguousarray((vectors[:count] @ directions.T).T, np.float32)
    order, classes = np.arange(count), classes[:count]
    chosen, thresholds = [], []
    for level in range(depth):
        nodes = 2**level
        size = count // nodes
        node = np.repeat(np.arange(nodes), size // 2)
        whole = np.bincount(np.repeat(np.arange(nodes), size) * kinds + classes[order], minlength=nodes * kinds)
        gains, orders, cuts = [], [], []
        for value in values:
            inside = value[order].reshape(nodes, size)
            ranks = np.argsort(inside, axis=1, kind="stable")
            at_cut = np.take_along_axis(inside, ranks[:, size // 2 - 1 : size // 2 + 1], axis=1)
            sorted_rows = np.take_along_axis(order.reshape(nodes, size), ranks, axis=1)
            left = np.bincount(node * kinds + classes[sorted_rows[:, : size // 2].reshape(-1)], minlength=nodes * kinds)
            gains.append(np.sum(((2 * left - whole) ** 2 / np.maximum(whole, 1)).reshape(nodes, kinds), axis=1))
            orders.append(sorted_rows)
            cuts.append(at_cut.mean(axis=1))
        best = np.argmax(gains, axis=0)
        chosen.append(best)
        thresholds.append(np.array(cuts)[best, np.arange(nodes)])
        order = np.array(orders)[best, np.arange(nodes)].reshape(-1)
    return ScoreTree(
        directions=jnp.asarray(directions, jnp.float32),
        chosen=jnp.asarray(np.concatenate(chosen), jnp.int32),
        thresholds=jnp.asarray(np.concatenate(thresholds), jnp.float32),
        labels=jnp.arange(leaves, dtype=jnp.int32),
    )


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Return the unit vectors and, where there are several scores, their principal components."""
    anchors = vectors.shape[1]
    if anchors == 1:
        return np.eye(1)
    _, components = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
    return np.concatenate([np.eye(anchors), components.T])
