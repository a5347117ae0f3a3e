"""Conditional VAE for action-conditioned video prediction in JAX."""
