"""Names from the kernel become text that can always be written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forktrace.text import decode_comm, encodable


@given(st.binary(max_size=16))
def test_any_comm_decodes_to_text_that_encodes(raw: bytes) -> None:
    decode_comm(raw).encode()


def test_a_comm_ends_at_its_first_nul() -> None:
    assert decode_comm(b"bash\0server\0") == "bash"


def test_bytes_that_are_no_utf8_are_written_out() -> None:
    assert decode_comm(b"caf\xc3\xa9 \xff") == "café \\xff"


@given(st.text(st.characters()))
def test_any_text_becomes_encodable(text: str) -> None:
    encodable(text).encode()


def test_clean_text_stays_as_it_is() -> None:
    assert encodable("café") == "café"
