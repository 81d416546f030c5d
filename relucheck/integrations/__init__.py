"""Callbacks for training frameworks and loggers: one module each, which alone imports the framework.

They turn the framework's events into the beginning and the end of a ``relucheck.watch``, and hand the
``Inspection`` of each inspected step to the framework's own loggers. Nothing else of relucheck imports
this package.
"""
