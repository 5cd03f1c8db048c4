"""How data are cut into batches."""


def batch_slices(n: int, batch_size: int) -> list[slice]:
    """Slices that cover n images in batches; a last image that would be alone joins the batch before it.

    One image has no variance, so batch normalization cannot train on it.

    >>> [(part.start, part.stop) for part in batch_slices(7, batch_size=3)]
    [(0, 3), (3, 7)]
    """
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1 < batch_size:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], n], strict=True)]
