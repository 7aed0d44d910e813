"""Lifters side by side: what is trained, from which stores, and what comes out of it."""
