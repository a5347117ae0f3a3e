"""Fixtures of the data tests."""

from tests.data_fixtures import tiny_data_dir  # noqa: F401
