"""What fights forgetting beside the optimizer: Avalanche's plugins under Lightning, corrected where they are wrong."""
