"""The list of networks: what a filter finds, and that the estimated size of a ticket is what a ticket takes."""

import pytest

from slt_compress.errors import SltError
from slt_compress.models import catalogue
from slt_compress.models.registry import check_model_name
from slt_compress.ticket.sample import sample_ticket


def entry(name: str, size: int = 32) -> catalogue.Entry:
    (found,) = catalogue.entries([name], classes=10, channels=3, input_size=size)
    return found


@pytest.mark.parametrize("name", ["lenet-5", "resnet20", "resnet56", "resnet18", "test_vit", "mobilenetv3_small_050"])
def test_the_estimate_is_close_to_a_real_ticket(name: str) -> None:
    ticket = sample_ticket(name, catalogue.DENSITY, input_size=32)
    found = entry(name)
    assert found.gated_weights == ticket.weight_count
    assert found.ticket_bytes == pytest.approx(len(ticket.to_bytes()), rel=0.05)
    module = ticket.restore()
    assert found.dense_bytes == sum(tensor.nbytes for tensor in module.state_dict().values())


def test_every_name_of_the_selection_is_there_once() -> None:
    assert len(set(catalogue.SELECTION)) == len(catalogue.SELECTION)
    for name in catalogue.SELECTION:
        check_model_name(name)
    assert catalogue.matching(None) == list(catalogue.SELECTION)


def test_filters() -> None:
    found = catalogue.matching("wide_resnet")
    assert {"wide_resnet28_10", "torchvision/wide_resnet50_2", "wide_resnet50_2"} <= set(found)
    assert all("wide_resnet" in name for name in found)
    assert all(name.startswith("torchvision/") for name in catalogue.matching("torchvision/*"))
    assert catalogue.matching("resnet56-w7") == ["resnet56-w7"]
    with pytest.raises(
        SltError, match="no model matches 'swin_tinny_patch4_window7_224'; closest: swin_tiny_patch4"
    ) as error:
        catalogue.matching("swin_tinny_patch4_window7_224")
    assert error.value.exit_code == 1
    with pytest.raises(SltError, match="no model matches '!!!'; without a pattern there is a selection"):
        catalogue.matching("!!!")


def test_what_cannot_be_built_says_why() -> None:
    found = entry("torchvision/maxvit_t")
    assert (found.gated_weights, found.ticket_bytes, found.dense_bytes) == (None, None, None)
    assert "torchvision/maxvit_t cannot take images of 32 px" in str(found.problem)
    assert "mixer_s32_224 cannot take images of 8 px (not one patch" in str(entry("mixer_s32_224", 8).problem)


def test_tables_that_the_builder_makes_are_no_obstacle() -> None:
    """Persistent buffers that are no statistics: every build has them again, so the ticket need not."""
    found = entry("torchvision/swin_v2_t")
    assert found.problem is None
    assert found.gated_weights == 27_522_048
    assert found.ticket_bytes is not None
    assert found.ticket_bytes < found.gated_weights / 16
