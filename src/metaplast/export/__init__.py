"""A trained network as a file for use elsewhere: ONNX, `torch.export`, or bits and thresholds for a C program."""
