"""Calls of the command line: every command, with what users put behind it, alone and together.

They are made in a folder that `prepare` fills, and name what is in it, or is not.
"""

import os
import shutil
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save_file

from slt_compress.monitoring.reference_file import save_reference
from tests.support.pictures import write_folder
from tests.support.references import reference_of, seen

# What there is: of each option, values that are right, wrong, or right with some of the others. None: a flag.
_DATA: dict[str, tuple[object, ...]] = {
    "--dataset": ("digits", "imagefolder", "csv", "hf:none", "hf:images", "mnist", "hf", "minst", ""),
    "--data-dir": ("images", "list.csv", "nowhere", "t.onnx", ".", ""),
    "--workers": (0, 1, -1, 65, "x"),
    "--skip-unreadable": (None,),
}
_OF_SEARCHES: dict[str, tuple[object, ...]] = {
    **_DATA,
    "--input-size": (8, 1, 5, 0, 12, "x"),
    "--model-arg": ("depth=1", "depth=0", "depth", "width=3"),
    "--granularity": ("weight", "neuron", "neuron,weight", "head"),
    "--neuron-sparsity": (0.5, 0, 1, "nan"),
    "--freeze-ratio": (0.3, 0, 1, "nan", -1),
    "--lock-ratio": (0.1, 0.5, 0),
    "--init": ("uniform", "signed-constant", "other"),
    "--epochs": (1, 0),
    "--max-steps": (1, 2, 0, 3),
    "--batch-size": (2, 16, 1, 100_000),
    "--augment": ("none", "flip", "crop", "crop-flip", "shift-flip", "other"),
    "--precision": ("auto", "fp32", "bf16"),
    "--device": ("auto", "cpu", "cuda", "mps"),
    "--log": ("log.jsonl", "t.onnx", "images/train/red/0.png", "nowhere/log", "x" * 300),
    "--tensorboard": ("board", "t.onnx", "images"),
    "--json": (None,),
    "--quiet": (None,),
}
_OF_SEARCHED_GATES = ("--granularity", "--neuron-sparsity", "--freeze-ratio", "--lock-ratio")
_OF_TRAINING: dict[str, tuple[object, ...]] = {
    **{name: values for name, values in _OF_SEARCHES.items() if name not in _OF_SEARCHED_GATES},
    "--seed": (0, 3, -1, 2**64),
    "--lr": (0.1, 0, "inf"),
    "--codec": ("raw", "rice"),
    "--statistics": ("fp16", "fp32"),
    "--output": ("new.safetensors", "t.safetensors", "images/train/red/0.png", "list.csv", "net.py", "."),
    "--checkpoint-every": (1, 5, 0),
}
_OF_GATES: dict[str, tuple[object, ...]] = {
    "--method": ("magnitude", "continuous-sparsification", "crbg", "random"),
    "--recipe": ("default", "paper"),
    "--scope": ("layer", "global"),
    "--rounds": (1, 2, 0, 101),
    "--store-weights": (None,),
}
OPTIONS: dict[str, dict[str, tuple[object, ...]]] = {
    "prune": {
        **_OF_TRAINING,
        **_OF_GATES,
        "--reference": (None,),
        "--sparsity": (0.5, 0, 0.999999, 1, "nan", -0.1),
        "--round-ratio": (0.5, 0, 1),
        "--initial-score": (0, -0.1, "nan"),
        "--penalty": (0, 1e-3, -1, "nan"),
        "--finish": (0, 0.5, 1),
        "--values": ("fp32", "fp16", "int8", "int4", "other"),
        "--weights": ("w.safetensors", "t.safetensors", "broken.safetensors", "list.csv", "none", "images"),
    },
    "find-ticket": {
        **_OF_TRAINING,
        **_OF_GATES,
        "--sparsity": ("0.5", "0.5,0.9", "0.5,0.5", "1", "", "x"),
        "--rewind-steps": (0, 1, -1, 1000),
    },
    "train": {
        **_OF_TRAINING,
        "--reference": (None,),
        "--values": ("fp32", "int8", "int4", "other"),
        "--mask": ("w.safetensors", "t.safetensors", "list.csv", "none", "images"),
        "--teacher": ("t.safetensors", "w.safetensors", "broken.safetensors", "t.onnx", "none"),
        "--controls": (None,),
        "--source": ("net.py:build", "net.py:none", "none.py:build"),
    },
    "search": {
        **_OF_SEARCHES,
        "--method": ("crbg", "edge-popup", "continuous-sparsification", "random", "other"),
        "--recipe": ("default", "paper"),
        "--scope": ("layer", "global"),
        "--sparsity": (0.5, 0, 0.999999, 1, "nan", -0.1),
        "--head-start": (0.1, 0, -1, 2, "nan", "x"),
        "--max-bytes": ("4KB", "100KB", "1", "x", ""),
        "--teacher": ("t.safetensors", "images.safetensors", "none.pth", ""),
        "--init-from": ("t.safetensors", "images.safetensors", "t.onnx", "nowhere", ""),
        "--seed": (0, 3, -1, 2**64),
        "--lr": (0.1, 0, "inf"),
        "--codec": ("raw", "rice"),
        "--statistics": ("fp16", "fp32"),
        "--output": ("new.safetensors", "t.safetensors", "images/train/red/0.png", "list.csv", "net.py", "."),
        "--checkpoint-every": (1, 5, 0),
        "--resume": (None,),
        "--reference": (None,),
    },
    "compare": {
        **_OF_SEARCHES,
        "--methods": ("random", "crbg,random", "edge-popup:layer", "random,random", "", "other"),
        "--sparsities": ("0.5", "0.5,0.9", "0.5,0.5", "1", ""),
        "--checkpoint-every": (1, 0),
        "--bytes": ("4KB", "4KB,6KB", "4KB,4KB", "1", "x", ""),
        "--models": ("lenet-5", "lenet-5,lenet-300-100", "lenet-5,lenet-5", "none", ""),
        "--seeds": (1, 0),
        "--dense": (None,),
        "--no-dense": (None,),
        "--dense-lr": (0.1, 0),
        "--shard": ("1/2", "2/1", "x"),
        "--output": ("grid", "t.onnx", "images", "list.csv", ""),
    },
    "evaluate": {
        **_DATA,
        "--backend": ("torch", "onnxruntime", "other"),
        "--min-accuracy": (0, 0.5, 1, 2),
        "--per-class": (None,),
        "--confusion-matrix": ("new.png", "images/train/red/0.png", "t.onnx", "nowhere/x.png"),
        "--save-predictions": ("new.csv", "new.jsonl", "list.csv", "t.onnx", "log.csv"),
        "--device": ("cpu", "cuda"),
        "--source": ("net.py:build", "net.py:none", "none.py:build", "net.py"),
        "--json": (None,),
    },
    "predict": {
        "--output": ("new.csv", "new.jsonl", "t.onnx", "list.csv", "nowhere/x.csv", "images"),
        "--top": (1, 3, 0, 11),
        "--features": (None,),
        "--device": ("cpu", "cuda"),
        "--source": ("net.py:build", "none.py:build"),
        "--json": (None,),
    },
    "export": {
        **_DATA,
        "--output": ("new.onnx", "new.c", "t.safetensors", "images/train/red/0.png", "net.py", "", ".."),
        "--format": ("onnx", "c", "html", "web", "other"),
        "--weights": ("compact", "dense", "int2", "ternary8", "int8", "other"),
        "--opset": (20, 9, 25, 99),
        "--include-preprocessing": (None,),
        "--portable": (None,),
        "--keep-structure": (None,),
        "--layout": ("rice", "gap", "signs", "other"),
        "--arithmetic": ("float", "fixed", "other"),
        "--main": (None,),
        "--title": ("A title", ""),
        "--runtime": ("images", "nowhere", ""),
        "--max-accuracy-drop": (0, 0.5, 2),
        "--source": ("net.py:build", "net.py:none"),
        "--json": (None,),
    },
    "monitor": {
        "--images": ("images/test", "images", "nowhere", "t.onnx", ""),
        "--predictions": ("log.csv", "list.csv", "none.jsonl", "t.onnx", "images"),
        "--merge": (None,),
        "--reference": ("reference.json", "list.csv", "none.json", "images/train"),
        "--reference-images": ("images/train", "images", "nowhere", "list.csv"),
        "--save-reference": ("new.json", "reference.json", "t.onnx", "nowhere/x.json"),
        "--window": (30, 100, 0, -1, "x"),
        "--false-alarms": (0.5, 0, 1, "nan"),
        "--threshold": (0, 0.5, -1, "nan"),
        "--log": ("monitor.jsonl", "t.onnx", "log.csv", "images/train/red/0.png"),
        "--textfile": ("monitor.prom", "log.csv", "nowhere/x", "."),
        "--plot": ("monitor.png", "images/train/red/0.png", ""),
        "--device": ("cpu", "cuda"),
        "--source": ("net.py:build", "none.py:build"),
        "--json": (None,),
    },
    "verify": {"--source": ("net.py:build", "net.py:none", "net.py"), "--json": (None,)},
    "inspect": {"--json": (None,)},
    "models": {
        "--classes": (2, 1),
        "--channels": (1, 0),
        "--input-size": (8, 0, 5000),
        "--max-bytes": ("10KB", "1", "x"),
        "--json": (None,),
    },
}
_NETWORKS = ("lenet-300-100", "lenet-300-100", "test_vit", "net.py:build", "lenet300-100", "none.py:build", "", "-h")
_FILES = ("t.safetensors", "t.onnx", "images.safetensors", "broken.safetensors", "none", "images", "list.csv")
_COMMANDS = (
    "search",
    "search",
    "search",
    "prune",
    "find-ticket",
    "train",
    "compare",
    "evaluate",
    "evaluate",
    "predict",
    "export",
    "verify",
    "inspect",
    "models",
    "monitor",
    "monitor",
)
_FIRST = {
    "search": _NETWORKS,
    **dict.fromkeys(("compare", "prune", "find-ticket"), _NETWORKS),
    "train": (*_NETWORKS, "t.safetensors", "images.safetensors", "broken.safetensors", "t.onnx"),
    "models": ("conv2", "nothing", "lenet*"),
    **dict.fromkeys(("evaluate", "predict", "export", "verify", "inspect", "monitor"), _FILES),
}
_IMAGES = ("images", "images/test", "images/train/red/0.png", "images/**/*.png", "none.png", "*.gif", "list.csv", "")
_NEEDED = {"compare": ("--output", "grid", "--methods", "random", "--sparsities", "0.5", "--seeds", "1")}


@st.composite
def calls(draw: st.DrawFn) -> list[str]:
    """Draw the words of a call."""
    command = draw(st.sampled_from(_COMMANDS))
    words = [command]
    if draw(st.integers(0, 9)):
        words.append(draw(st.sampled_from(_FIRST[command])))
    if command == "predict":
        words += draw(st.lists(st.sampled_from(_IMAGES), max_size=3))
    words += _NEEDED.get(command, ())
    for flag in draw(st.lists(st.sampled_from(sorted(OPTIONS[command])), unique=True, max_size=5)):
        value = draw(st.sampled_from(OPTIONS[command][flag]))
        words += [flag] if value is None else [flag, str(value)]
    return words


def prepare(folder: Path, ticket: Path, exported: Path, of_images: Path) -> None:
    """Fill an empty folder with what calls name: a ticket on digits and its export, one on images, and the images."""
    write_folder(folder / "images", 4, 2)
    found = sorted((folder / "images").glob("*/*/*.png"))
    rows = [f"{path.relative_to(folder)},{path.parent.name},{path.parent.parent.name}\n" for path in found]
    (folder / "list.csv").write_text("".join(["path,label,split\n", *rows]))
    save_reference(folder / "reference.json", reference_of(seen(100, np.random.default_rng(0))), list("0123456789"))
    (folder / "log.csv").write_text("class,probability\n" + "".join(f"{row % 10},0.5\n" for row in range(70)))
    network = "nn.Sequential(nn.Flatten(), nn.Linear(64, 10))"
    (folder / "net.py").write_text(f"from torch import nn\n\n\ndef build():\n    return {network}\n")
    save_file({"1.weight": np.ones((10, 64), np.float32), "1.bias": np.zeros(10, np.float32)}, folder / "w.safetensors")
    shutil.copy(ticket, folder / "t.safetensors")
    shutil.copy(exported, folder / "t.onnx")
    shutil.copy(of_images, folder / "images.safetensors")
    (folder / "broken.safetensors").write_bytes(ticket.read_bytes()[:-10])


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, by their names, without those in which Python keeps what it has compiled."""
    found = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {os.path.relpath(path, folder): path.read_bytes() if path.is_file() else b"" for path in found}
