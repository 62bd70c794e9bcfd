"""RFC 6962 Merkle trees: hashes, roots and proofs, as pure functions over bytes.

A tree of `size` leaves is never held whole. What the log carries in memory is its right
edge (`storage.audit.edge`); what a proof needs is a handful of perfect subtrees, and this
module says which (`Node`) so that a caller can fetch their tiles at once and then fold.

All hashes are 32-byte SHA-256 digests. Section numbers are those of RFC 6962, and of
RFC 9162 for the two verification algorithms, which RFC 6962 leaves to the reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()  # RFC 6962 2.1: the hash of an empty list


class ProofError(ValueError):
    """A proof does not lead from what is claimed to the root that is trusted."""


class Node(NamedTuple):
    """A perfect subtree: 2**height leaves, the `position`-th such from the left."""

    height: int
    position: int


def leaf_hash(entry: bytes) -> bytes:
    """MTH({d}) of one entry. The 0x00 keeps a leaf from posing as a node (RFC 6962 2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees (RFC 6962 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Perfect subtrees from left (largest) to right -> the root over them all.

    RFC 6962 2.1 splits n leaves at the largest power of two below n, so that the subtrees
    of the binary digits of n nest from the right. Raises IndexError for none.
    """
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2**k sibling hashes."""
    level = list(hashes)
    while len(level) > 1:
        level = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=True)
        ]
    return level[0]


def digits(hashes: Sequence[bytes]) -> list[bytes]:
    """Up to 255 sibling hashes -> the roots of the perfect subtrees that they fall into."""
    roots: list[bytes] = []
    start, left = 0, len(hashes)
    while left:
        width = 1 << (left.bit_length() - 1)
        roots.append(perfect_root(hashes[start : start + width]))
        start, left = start + width, left - width
    return roots


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, for trees small enough to hold."""
    return fold(digits(leaves)) if leaves else EMPTY_ROOT


def cover(start: int, end: int) -> tuple[Node, ...]:
    """The perfect subtrees that make up leaves [start, end), from left to right.

    `start` must be a multiple of the largest power of two that is not above end - start,
    as every range is that RFC 6962's recursion produces.
    """
    nodes = []
    while start < end:
        height = (end - start).bit_length() - 1
        nodes.append(Node(height, start >> height))
        start += 1 << height
    return tuple(nodes)


def inclusion_path(index: int, size: int) -> tuple[tuple[Node, ...], ...]:
    """PATH(m, D[n]) of RFC 6962 2.1.1; each element is the cover of one proof hash."""
    if not 0 <= index < size:
        raise ProofError(f"entry {index} is not in a tree of {size}")
    path: list[tuple[Node, ...]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(cover(middle, end))
            end = middle
        else:
            path.append(cover(start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_path(old: int, size: int) -> tuple[tuple[Node, ...], ...]:
    """PROOF(m, D[n]) of RFC 6962 2.1.2; empty for old = 0 and for old = size."""
    if not 0 <= old <= size:
        raise ProofError(f"a tree of {old} is not earlier than one of {size}")
    if old in (0, size):
        return ()
    path: list[tuple[Node, ...]] = []
    start, end, whole = 0, size, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(cover(middle, end))
            end = middle
        else:
            path.append(cover(start, middle))
            start, whole = middle, False
    if not whole:  # SUBPROOF(m, D[m], false) = {MTH(D[m])}
        path.append(cover(start, end))
    return tuple(reversed(path))


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 2.1.3.2. Raises ProofError unless `leaf` is entry `index` under `root`."""
    if not 0 <= index < size:
        raise ProofError(f"entry {index} is not in a tree of {size}")
    here, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if here & 1 or here == last:
            found = node_hash(sibling, found)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        here, last = here >> 1, last >> 1
    if last != 0:
        raise ProofError("the inclusion proof is too short")
    if found != root:
        raise ProofError(f"the inclusion proof of entry {index} does not lead to the root")


def verify_consistency(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162 2.1.4.2. Raises ProofError unless the tree of `size` extends the tree of `old`."""
    if not 0 <= old <= size:
        raise ProofError(f"a tree of {old} is not earlier than one of {size}")
    if old in (0, size):
        if proof:
            raise ProofError("the consistency proof is too long")
        if old_root != (EMPTY_ROOT if old == 0 else root):
            raise ProofError(f"two different trees of {old} entries")
        return
    steps: Iterator[bytes] = iter(proof)
    here, last = old - 1, size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    try:
        old_found = found = next(steps) if here else old_root
        for sibling in steps:
            if last == 0:
                raise ProofError("the consistency proof is too long")
            if here & 1 or here == last:
                old_found, found = node_hash(sibling, old_found), node_hash(sibling, found)
                while here and not here & 1:
                    here, last = here >> 1, last >> 1
            else:
                found = node_hash(found, sibling)
            here, last = here >> 1, last >> 1
    except StopIteration:
        raise ProofError("the consistency proof is too short") from None
    if last != 0:
        raise ProofError("the consistency proof is too short")
    if old_found != old_root or found != root:
        raise ProofError(f"the tree of {size} entries does not extend the tree of {old}")


def _split(count: int) -> int:
    """The largest power of two below `count` (RFC 6962 2.1's k)."""
    return 1 << ((count - 1).bit_length() - 1)
