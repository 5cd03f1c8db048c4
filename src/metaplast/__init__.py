"""Metaplast: the study of forgetting in binarized neural networks. Rooms are imported by name; this costs nothing."""

__version__ = "0.1.0"
