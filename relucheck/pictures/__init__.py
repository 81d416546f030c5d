"""Pictures: one module a figure. The only part that imports numpy and matplotlib; it needs no torch."""
