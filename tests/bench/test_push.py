"""Which rows a benchmark measures (bench/push.py)."""

import pytest

from bench.measure import Row
from bench.push import choose_with_needed
from bench.requests import Call

CALL = Call(1, b"", 200)
ROWS = {
    row.name: row
    for row in (
        Row("first push", CALL, CALL),
        Row("first push, manifest is there", CALL, CALL),
        Row("identical", CALL, CALL, after="first push, manifest is there"),
        Row("refused", CALL, CALL),
    )
}


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        ([], list(ROWS)),
        (["first"], ["first push", "first push, manifest is there"]),
        (["refused", "identical"], ["first push, manifest is there", "identical", "refused"]),
    ],
)
def test_a_row_brings_the_one_that_it_comes_after(texts: list[str], chosen: list[str]) -> None:
    assert choose_with_needed(ROWS, texts) == chosen
