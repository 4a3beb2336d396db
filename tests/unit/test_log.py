"""What is said: to people, to machines, and to the journal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace import log
from forktrace.log import logger


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    log.configure()


def test_people_read_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("Tracing.")
    logger.warning("Odd.")
    logger.error("Bad.\nMend it.")
    logger.debug("not said")
    assert capsys.readouterr().err == (
        "Tracing.\nforktrace: warning: Odd.\nforktrace: Bad.\nforktrace: Mend it.\n"
    )


def test_logfmt(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "logfmt")
    logger.warning('A "quoted" word,\nand a line.')
    assert re.fullmatch(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=WARN "
        r'source=test_log\.py:\d+ msg="A \\"quoted\\" word, and a line\."\n',
        capsys.readouterr().err,
    )


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("debug", "json")
    logger.debug("ü")
    said = json.loads(capsys.readouterr().err)
    assert list(said) == ["time", "level", "source", "msg"]
    assert (said["level"], said["msg"]) == ("DEBUG", "ü")


def test_only_what_is_of_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("error")
    logger.warning("no")
    logger.error("yes")
    assert capsys.readouterr().err == "forktrace: yes\n"


def test_the_journal_gets_priorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        monkeypatch.setattr(sys, "stderr", journal)
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logger.info("Tracing.")
        logger.error("Bad.\nMend it.")
    assert (tmp_path / "journal").read_text() == (
        "<6>Tracing.\n<3>forktrace: Bad.\n<3>forktrace: Mend it.\n"
    )
