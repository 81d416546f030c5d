"""relucheck finds activation and gradient-flow mistakes in PyTorch networks."""
