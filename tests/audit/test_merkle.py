"""RFC 6962 trees: known roots, and the algebra of proofs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.audit.edge import Edge
from storage.audit.merkle import (
    EMPTY_ROOT,
    ProofError,
    consistency_path,
    cover,
    inclusion_path,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.audit.logs import mth

# The leaves and roots of the reference tests of Certificate Transparency (RFC 6962's own code).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
sizes = st.integers(1, 600)


def test_the_empty_tree_hashes_to_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of([]) == Edge().root() == EMPTY_ROOT


@pytest.mark.parametrize("count", range(1, 9))
def test_known_roots(count: int) -> None:
    assert root_of([leaf_hash(leaf) for leaf in LEAVES[:count]]).hex() == ROOTS[count - 1]
    assert mth(LEAVES[:count]).hex() == ROOTS[count - 1]
    edge, _ = Edge().grow(LEAVES[:count])
    assert edge.root().hex() == ROOTS[count - 1]


def _leaves(count: int) -> list[bytes]:
    return [number.to_bytes(2) for number in range(count)]


def _subtree(leaves: list[bytes], start: int, end: int) -> bytes:
    return mth(leaves[start:end])


def _proof(leaves: list[bytes], path: tuple[tuple[tuple[int, int], ...], ...]) -> list[bytes]:
    """Each proof hash straight from the definition: MTH over the leaves of its cover."""
    hashes = []
    for nodes in path:
        (height, first), (last_height, last) = nodes[0], nodes[-1]
        hashes.append(_subtree(leaves, first << height, (last + 1) << last_height))
    return hashes


@given(sizes, st.data())
def test_every_entry_of_every_tree_has_a_proof_that_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = _leaves(size)
    proof = _proof(leaves, inclusion_path(index, size))
    verify_inclusion(index, size, leaf_hash(leaves[index]), proof, mth(leaves))


@given(sizes, st.data())
def test_every_tree_has_a_proof_that_it_extends_every_earlier_one(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    leaves = _leaves(size)
    proof = _proof(leaves, consistency_path(old, size))
    verify_consistency(old, size, mth(leaves[:old]), mth(leaves), proof)


@given(sizes, st.data())
def test_a_proof_with_anything_changed_does_not_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = _leaves(size)
    leaf, root = leaf_hash(leaves[index]), mth(leaves)
    proof = _proof(leaves, inclusion_path(index, size))
    changes: list[tuple[int, int, bytes, list[bytes]]] = [
        (index, size, leaf_hash(b"another"), proof),
        (index, size, leaf, [*proof, bytes(32)]),
        ((index + 1) % size, size, leaf, proof) if size > 1 else (1, size, leaf, proof),
    ]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        changes += [
            (index, size, leaf, [*proof[:at], bytes(32), *proof[at + 1 :]]),
            (index, size, leaf, proof[:-1]),
        ]
    for where, count, what, path in changes:
        with pytest.raises(ProofError):
            verify_inclusion(where, count, what, path, root)


@given(st.integers(2, 600), st.data())
def test_a_tree_that_changed_its_past_has_no_consistency_proof(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, old - 1))
    leaves = _leaves(size)
    old_root = mth(leaves[:old])
    leaves[changed] = b"rewritten"
    proof = _proof(leaves, consistency_path(old, size))
    with pytest.raises(ProofError):
        verify_consistency(old, size, old_root, mth(leaves), proof)
    for wrong in (proof[:-1], [*proof, bytes(32)], []):
        with pytest.raises(ProofError):
            verify_consistency(old, size, old_root, mth(leaves), wrong)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_a_cover_is_the_binary_digits_of_its_length(size: int, extra: int) -> None:
    nodes = cover(0, size)
    assert sum(1 << node.height for node in nodes) == size
    assert len(nodes) == size.bit_count()


@given(st.lists(st.integers(0, 700), max_size=6))
def test_growing_in_any_batches_gives_the_same_tree(batches: list[int]) -> None:
    edge, start = Edge(), 0
    for count in batches:
        edge, _ = edge.grow([n.to_bytes(2) for n in range(start, start + count)])
        start += count
    whole, _ = Edge().grow(_leaves(start))
    assert (edge.size, edge.root(), edge.bundle) == (whole.size, whole.root(), whole.bundle)
    assert edge.root() == root_of([leaf_hash(leaf) for leaf in _leaves(start)])
