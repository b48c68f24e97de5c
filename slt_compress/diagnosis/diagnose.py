"""All findings, one after the other."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from slt_compress.diagnosis.features import Feature, Workshop, features, gpu
from slt_compress.diagnosis.packages import packages
from slt_compress.diagnosis.report import Diagnosis, Finding, tried
from slt_compress.diagnosis.system import system
from slt_compress.models.quiet import quiet
from slt_compress.progress import SILENT, ProgressReporter


def doctor(reporter: ProgressReporter = SILENT) -> Diagnosis:
    """Find out what works here: which packages can be imported, what the machine is, and each feature by using it.

    It takes some seconds, writes only into a temporary folder, and raises nothing for what does not work:

    >>> found = slt_compress.doctor()
    >>> found.broken
    []
    """
    with quiet():
        installed = tuple(packages())
        machine = system()
    there = {"cuda": isinstance(machine["gpus"], list) and machine["gpus"], "mps": machine["mps"] is True}
    wanted = [*features(), *(gpu(name) for name, found in there.items() if found)]
    try:
        folder = tempfile.TemporaryDirectory(prefix="slt-compress-")
    except OSError as error:  # the message names the places that were tried
        return Diagnosis(machine, installed, (Finding("temporary folder", "failed", str(error)),))
    done: list[Finding] = []
    with folder, reporter.counter("trying") as report:
        shop = Workshop(Path(folder.name))
        for feature in wanted:
            done.append(_tried(feature, shop))
            if report:
                report(len(done), len(wanted))
    return Diagnosis(machine, installed, tuple(done))


def _tried(feature: Feature, shop: Workshop) -> Finding:
    start = time.monotonic()
    with quiet():
        found = tried(feature.name, lambda: feature.run(shop), required=feature.required)
    return replace(found, seconds=round(time.monotonic() - start, 3))
