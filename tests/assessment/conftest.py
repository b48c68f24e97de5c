"""An assessment of a small network, made once."""

import pytest

from slt_compress.api import assess
from slt_compress.assessment.config import AssessConfig
from slt_compress.assessment.fleet import Fleet
from slt_compress.assessment.results import Assessment
from slt_compress.config import SearchConfig


@pytest.fixture(scope="session")
def found() -> Assessment:
    config = SearchConfig(device="cpu", max_steps=300)
    wanted = AssessConfig((0.9, 0.8), 0.05, target_bytes=10**6, fleet=Fleet(10, 2, 3.0))
    return assess("lenet-300-100", config=config, wanted=wanted)
