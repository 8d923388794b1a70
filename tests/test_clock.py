"""The times that depend on each other keep their order."""

import pytest

from app import clock

ORDER = [
    ("CONNECT_SECONDS", "<", "EXCHANGE_SECONDS"),
    ("ANSWER_SECONDS", "<", "EXCHANGE_SECONDS"),
    ("REPLICA_SECONDS", "<", "EXCHANGE_SECONDS"),
    ("WRITTEN_SECONDS", "<", "ENDING_SECONDS"),
    ("2 * EXCHANGE_SECONDS + EXCHANGE_PAUSE_SECONDS", "<", "CALL_SECONDS"),
    ("CALL_SECONDS", "<", "REFUSED_SECONDS"),
    ("HEARTBEAT_SECONDS + 2 * CALL_SECONDS", "<", "LEASE_SECONDS"),
    ("2 * HEARTBEAT_SECONDS", "<=", "TRUST_SECONDS"),
    ("LEASE_SECONDS + 2 * HEARTBEAT_SECONDS", "<", "SETTLED_SECONDS"),
    ("2 * PING_SECONDS", "<", "SILENT_SECONDS"),
    ("BELL_RETRY_SECONDS[0]", "<", "BELL_RETRY_SECONDS[1]"),
    ("LOOK_SECONDS", "<", "TAKEN_SECONDS"),
    ("TAKEN_SECONDS", "<", "ENDED_SECONDS"),
    ("UNWRITTEN_SECONDS", "<", "ENDED_SECONDS"),
    ("CALL_SECONDS + END_RETRY_SECONDS", "<", "UNWRITTEN_SECONDS"),
    ("OPENING_SECONDS", "<", "TROUBLE_SECONDS"),
    ("LOG_REST_SECONDS", "<", "TROUBLE_SECONDS"),
    ("SHOWN_SECONDS + CALL_SECONDS", "<", "READER_SECONDS"),
    ("NEWS_SECONDS", "<", "SILENCE_SECONDS"),
    ("CALL_SECONDS", "<", "UNCLEAR_SECONDS"),
    ("UNCLEAR_SECONDS + TAKEN_SECONDS + ENDED_SECONDS", "<", "SEND_SECONDS"),
    ("STREAM_HEARTBEAT_SECONDS", "<", "STREAM_STUCK_SECONDS"),
    ("HEALTH_SECONDS", "<", "1.0"),
    ("CALL_SECONDS", "<", "ENDING_SECONDS"),
    ("ENDING_SECONDS", "<=", "EXIT_SECONDS"),
]


@pytest.mark.parametrize(("lower", "sign", "upper"), ORDER, ids=[f"{a} {s} {b}" for a, s, b in ORDER])
def test_these_times_keep_their_order(lower: str, sign: str, upper: str) -> None:
    small, large = (eval(text, vars(clock)) for text in (lower, upper))
    assert small <= large if sign == "<=" else small < large
