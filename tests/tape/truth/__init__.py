"""Small networks whose dead units and gradient faults are known, and the brute force that knows them.

They follow the description of a bench on which existing checkers were measured: units killed by a bias of -25, every
spelling of ReLU, convolutions, sequences, shared modules, traps, and gradient faults. What is true of a network
is computed here with torch alone: hooks or the same arithmetic by hand give each activation's input.
"""
