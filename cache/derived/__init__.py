"""Stores made from finished stores: recoded, merged, taken a part of."""
