"""Tests of posecache, one folder per package."""
