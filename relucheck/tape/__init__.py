"""The reader of real passes: a model and its batches in, a net and measurements out.

The only package that imports torch. ``relucheck.live`` joins it with the rules.
"""
