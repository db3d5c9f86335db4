"""TensorBoard's summaries from bytes are those that its own objects write."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

from experiments.folders._summaries import NUMBERS, histogram_summary, scalar_summary, varint

TAGS = st.text(st.characters(codec="utf-8"), max_size=200)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(TAGS, st.floats(), max_size=5))
def test_scalars(values: dict[str, float]) -> None:
    """Any tag and any number, with those that float32 does not have."""
    expected = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    assert Summary.FromString(scalar_summary(values)).SerializeToString() == expected.SerializeToString()


@settings(max_examples=50, deadline=None)
@given(st.lists(TAGS, min_size=1, max_size=4), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_histograms(tags: list[str], bins: int, seed: int) -> None:
    """Any tag and number of bins; zeros are left out, as an object leaves them out."""
    draw = np.random.default_rng(seed)
    numbers, counts = draw.normal(size=(len(tags), 5)).round(), draw.poisson(2.0, (len(tags), bins)).astype(float)
    values = []
    for tag, own, bucket in zip(tags, numbers.tolist(), counts.tolist(), strict=True):
        low, high = own[:2]
        limits = [low + (high - low) / bins * (i + 1) for i in range(bins)]
        histogram = HistogramProto(**dict(zip(NUMBERS, own, strict=True)), bucket_limit=limits, bucket=bucket)
        values.append(Summary.Value(tag=tag, histo=histogram))
    written = Summary.FromString(histogram_summary(tags, numbers, counts))
    assert written.SerializeToString() == Summary(value=values).SerializeToString()


@pytest.mark.parametrize(
    ("number", "content"),
    [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (2**14, b"\x80\x80\x01")],
)
def test_varint(number: int, content: bytes) -> None:
    """As in protobuf's description."""
    assert varint(number) == content
