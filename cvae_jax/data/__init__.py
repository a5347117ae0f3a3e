"""Clips from their source to batches: sources, preparation, pipeline."""
