"""Kernels of our own that PyTorch calls, each beside its twin in plain PyTorch."""
