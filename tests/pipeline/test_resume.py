"""What a search is known by when it is resumed; `test_find` resumes searches."""

from dataclasses import replace

from slt_compress.config import SearchConfig
from slt_compress.pipeline.prepare import prepare
from slt_compress.pipeline.resume import identity


def test_a_search_is_known_by_its_data_and_settings_and_not_by_what_becomes_of_the_ticket() -> None:
    config = SearchConfig(max_steps=2)
    prepared = prepare("lenet-300-100", config)
    module = prepared.source.build()
    known = identity(config, prepared, "uniform", module)
    assert known == identity(replace(config, reference=True, codec="raw"), prepared, "uniform", module)
    assert known != identity(replace(config, seed=1), prepared, "uniform", module)
    other = replace(prepared, run=replace(prepared.run, validation=prepared.run.train))
    assert known["held-out data"] != identity(config, other, "uniform", module)["held-out data"]
