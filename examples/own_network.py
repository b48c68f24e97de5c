"""From a network of your own and a folder of images to an ONNX file.

python examples/own_network.py FOLDER       FOLDER has train/ and test/, each with a folder per class
"""

import sys

from torch import nn

import slt_compress


def build() -> nn.Module:
    """Return a network for colour images of 32 px and two classes: any module of convolutions and linear layers."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 2)),
    )


def main(folder: str) -> None:
    result = slt_compress.search(build, "imagefolder", data_dir=folder, input_size=32, sparsity=0.9)
    result.ticket.save("own.safetensors")
    exported = slt_compress.export("own.safetensors", "own.onnx", source=build, data_dir=folder)
    print(f"accuracy {result.accuracy:.1%}, ticket {len(result.ticket.to_bytes()):,} B, ONNX {exported.bytes:,} B")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
