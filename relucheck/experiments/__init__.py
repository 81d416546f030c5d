"""Controlled trainings: what one change does, from the same initial state, batches and random numbers."""
