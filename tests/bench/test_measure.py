"""The table of a benchmark (bench/measure.py), and what it counts."""

from collections import Counter

import pytest

from bench.measure import Side, format_cells
from bench.requests import CLIENT, NUMBER, Answer, Call, Connection, WrongAnswerError, make_number

CALL = Call(1, b"GET /" + NUMBER + b"/" + CLIENT + b" HTTP/1.1\r\n\r\n", 200, b"yes")


class _Server(Connection):
    """Answers always the same, and keeps what it was sent."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(1)
        self.sent: list[bytes] = []
        self._answer = Answer(status, {}, body)

    def send(self, request: bytes) -> Answer:
        self.sent.append(request)
        return self._answer


def _make_side(took: list[float], seconds: float, processor: dict[str, float]) -> Side:
    counted = Counter(statements=5 * len(took), commits=2 * len(took))
    return Side(CALL, dict.fromkeys(processor, 1), [], [], took, seconds, processor, counted)


def test_a_row_compares_processor_time_and_rate_for_one_operation() -> None:
    floor = _make_side([0.005] * 100, 1.0, {"registry": 0.4})
    subject = _make_side([0.010] * 98 + [0.050] * 2, 2.0, {"gate": 1.2, "registry": 0.4})

    assert format_cells(floor, subject) == [
        "4.00", "16.00", "12.00", "4.00", "0.25", "0.5 (50/s)", "10.0 ms", "50.0 ms",
        "5.0", "2.0", "100",
    ]  # fmt: skip


def test_a_call_bears_the_number_of_the_operation_and_of_its_client() -> None:
    server = _Server(200, b"yes")

    CALL.perform(server, make_number(3, 17))

    assert server.sent == [b"GET /0300000017/03 HTTP/1.1\r\n\r\n"]


@pytest.mark.parametrize(("status", "body"), [(503, b"yes"), (200, b"no")])
def test_a_wrong_answer_is_an_error(status: int, body: bytes) -> None:
    with pytest.raises(WrongAnswerError):
        CALL.perform(_Server(status, body), make_number(0, 0))
