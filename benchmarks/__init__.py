"""Measurements that are made by hand; their results are in benchmarks/results."""
