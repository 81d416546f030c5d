"""Drawings of measured networks, made of a few shapes; SVG and matplotlib both draw the same ones.

Nothing here needs torch, numpy or matplotlib.
"""
