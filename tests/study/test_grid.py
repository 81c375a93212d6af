"""The grid of a study."""

from optical_mteb.study.grid import ZERO_SHOT, grid, random_orders


def test_cells_that_coincide_are_one_training():
    """Guards against a zero-shot run for every cell, and the full set of languages trained once an order."""
    nested = {"given": ["swh", "som", "mar"], "other": ["mar", "som", "swh"]}
    cells = grid(nested, [1, 3], [ZERO_SHOT, "optical"], {"per_pair": 10, "total": 30}, [0, 1])
    assert len(cells) == 2 * 2 * 2 * 2 * 2
    # Zero-shot; by seed: one language of either order with 10 or 30 steps, and all three with 30.
    assert len({cell.training for cell in cells}) == 1 + 2 * (2 * 2 + 1)


def test_random_orders_are_seeded_permutations():
    """Guards against orders that change between runs, or lose a language."""
    names = ["swh", "som", "tgl", "mar", "fra", "spa", "por"]
    found = random_orders(names, 3, seed=5)
    assert found == random_orders(names, 3, seed=5)
    assert list(found) == ["random-5", "random-6", "random-7"]
    assert all(sorted(order) == sorted(names) for order in found.values())
