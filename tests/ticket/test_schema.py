"""The records of a ticket: what follows from what they hold."""

from dataclasses import replace

import numpy as np
import pytest

from slt_compress.tasks.record import TaskRecord, TensorRecord
from slt_compress.ticket.schema import Coat, CodedMask, Layer, Use, unique
from slt_compress.ticket.stored import StoredWeights
from tests.support.documents import OWN, PROVENANCE, rich_ticket


def test_a_classifier_of_images_needs_no_word_about_inputs_and_outputs() -> None:
    assert PROVENANCE.inputs == (TensorRecord((1, 8, 8), "float32"),)
    assert PROVENANCE.outputs == (TensorRecord((2,), "float32"),)
    assert PROVENANCE.task == TaskRecord("classification", "cross-entropy", "accuracy")
    assert PROVENANCE.is_classic
    assert replace(PROVENANCE, classes=["a", "b", "c"]).outputs == (TensorRecord((2,)),)  # were given by now
    assert not OWN.is_classic


def test_without_preprocessing_inputs_must_be_given() -> None:
    with pytest.raises(ValueError, match="`inputs` must be given"):
        replace(PROVENANCE, preprocessing=None, inputs=())


def test_a_layer_knows_its_masks() -> None:
    shared, own = CodedMask(4, 2, "raw", b"\3"), CodedMask(8, 1, "rice", b"\0\1")
    same = CodedMask(4, 2, "raw", b"\3")  # equal, but another mask
    coats = (Coat(0.5, (Use(shared, 0), Use(own))), Coat(0.25, (Use(shared, 0), Use(same, 1, 2))))
    layer = Layer("w", (4, 8), coats, 3)
    assert [id(mask) for mask in layer.masks] == [id(shared), id(own), id(same)]
    assert (layer.size, layer.scale, layer.codec, layer.code_bytes) == (32, 0.5, "raw, rice", 4)
    assert not layer.simple
    assert Layer("w", (4, 8), coats[:1], 3).simple
    assert not Layer("w", (4, 8), coats[:1], 3, StoredWeights("fp32", b"")).simple
    assert unique([]) == []


def test_masks_are_listed_in_the_order_of_their_first_use() -> None:
    ticket = rich_ticket()
    assert len(ticket.masks) == 6
    assert ticket.masks[0] is ticket.layers[1].masks[0]  # the channels of the first layer, and of the next
    assert np.sum([len(mask.code) for mask in ticket.masks]) == ticket.mask_bytes
