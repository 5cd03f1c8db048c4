"""Compute ResNet-18 features of CIFAR-10 or CIFAR-100, for scenario=cifar10_features and cifar100_features.

    metaplast make-features cifar10                 # ten augmented passes; data/cifar10_features.npz, 570 MB
    metaplast make-features cifar100 --passes 1 --device cuda

The images are read from data/cifar10 or data/cifar100 (binary version). The weights, trained on ImageNet, are
downloaded to torch's cache; without a network, pass a file by --weights. Ten passes take hours on two cores, minutes on
a GPU.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script
from metaplast.errors import UserError
from metaplast.io import check_target


def at_least_one(text: str) -> int:
    """Parse an integer ≥ 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text!r}")
    return int(text)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("dataset", choices=("cifar10", "cifar100"), help="data set")
    add("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="folder of the data sets (default data)")
    add("--out", type=Path, metavar="FILE", help="the .npz file to write (default DATASET_features.npz in --data-dir)")
    add("--weights", type=Path, metavar="FILE", help="state dict of the ResNet-18 (default: torchvision's, downloaded)")
    add("--passes", type=at_least_one, default=10, metavar="N", help="augmented passes for training (default 10)")
    add("--batch-size", type=at_least_one, default=250, metavar="N", help="batch size (default 250)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the augmentation (default 0)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="device of the network (default cpu)")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> Path:
    """Compute the features, write them, and return the file."""
    out: Path = arguments.out or arguments.data_dir / f"{arguments.dataset}_features.npz"
    if out.suffix != ".npz":
        raise UserError(f"--out {out}: expected a name ending in .npz, got {out.name}")
    check_target("--out", out)  # before hours of work

    import torch

    from metaplast.data import load_cifar10, load_cifar100, write_features
    from metaplast.data.features import pretrained_resnet18, resnet_features

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: expected a GPU, got none from torch")
    load = {"cifar10": load_cifar10, "cifar100": load_cifar100}[arguments.dataset]
    (train_images, train_labels), (test_images, test_labels) = (
        load(arguments.data_dir, train=part) for part in (True, False)
    )
    network = pretrained_resnet18(arguments.weights).to(arguments.device)
    generator = torch.Generator().manual_seed(arguments.seed)
    passes = []
    for number in range(1, arguments.passes + 1):
        passes.append(resnet_features(network, train_images, generator, arguments.batch_size))
        print(f"Pass {number} of {arguments.passes} over {len(train_images)} images done", flush=True)
    test = resnet_features(network, test_images, batch_size=arguments.batch_size)
    try:
        write_features(out, (torch.cat(passes), train_labels.repeat(arguments.passes)), (test, test_labels))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    return out


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    print(f"Written: {run(parse(argv))}")
