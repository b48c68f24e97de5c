"""An assessment of a small network, made once."""

import pytest

from slt_compress.assessment.fleet import Fleet
from slt_compress.assessment.recommendation import Targets
from slt_compress.assessment.results import Assessment
from slt_compress.assessment.run import assess
from slt_compress.config import SearchConfig


@pytest.fixture(scope="session")
def found() -> Assessment:
    config = SearchConfig(device="cpu", max_steps=300)
    return assess(
        "lenet-300-100", config, sparsities=(0.9, 0.8), minutes=0.05, fleet=Fleet(10, 2, 3.0), targets=Targets(10**6)
    )
