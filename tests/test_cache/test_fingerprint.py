from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.fingerprint import canonical_json, diff_identities, fingerprint, hash_arrays

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_key_order_and_containers_do_not_matter() -> None:
    a = {"b": (1, 2.5), "a": {"y": None, "x": np.float64(0.5)}}
    b = {"a": {"x": 0.5, "y": None}, "b": [np.int64(1), 2.5]}
    assert canonical_json(a) == canonical_json(b) == '{"a":{"x":0.5,"y":null},"b":[1,2.5]}'
    assert fingerprint(a) == fingerprint(b)
    assert diff_identities(a, b) == []


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError, match="paths are not part of an identity"):
        canonical_json({"weights": Path("a.pth")})
    with pytest.raises(TypeError, match="string keys only"):
        canonical_json({1: 2})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json([float("nan")])


def test_difference_names_the_dotted_key_and_both_values() -> None:
    stored = {"detector": {"weights": "aa", "taps": ["x4"]}, "crop": 1.25}
    asked = {"detector": {"weights": "bb", "taps": ["x4"]}, "crop": 1.25, "flip": True}
    assert diff_identities(stored, asked) == [
        'detector.weights: stored "aa", asked "bb"',
        "flip: stored (absent), asked true",
    ]


def test_long_values_are_cut_in_messages() -> None:
    (line,) = diff_identities({"a": "x" * 1000}, {"a": "y"})
    assert len(line) < 200
    assert "1002 characters" in line


@given(JSON, JSON)
def test_difference_is_empty_exactly_for_equal_fingerprints(a: Any, b: Any) -> None:
    assert (diff_identities(a, b) == []) == (fingerprint(a) == fingerprint(b))
    assert diff_identities(a, a) == []


def test_array_hash_sees_names_shapes_dtypes_and_values_but_not_order_or_strides() -> None:
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    base = hash_arrays({"a": weights, "b": weights + 1})
    assert base == hash_arrays({"b": weights + 1, "a": np.asfortranarray(weights)})
    assert base == hash_arrays({"a": weights.astype(">f4"), "b": weights + 1})
    others = [
        {"a": weights, "c": weights + 1},
        {"a": weights.reshape(4, 3), "b": weights + 1},
        {"a": weights.astype(np.float64), "b": weights + 1},
        {"a": weights, "b": np.nextafter(weights + 1, 99, dtype=np.float32)},
        {"a": weights},
    ]
    assert len({base, *map(hash_arrays, others)}) == 1 + len(others)
