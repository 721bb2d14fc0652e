"""The reader of environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from edgechat.environment import Environment

# The values that an environment can hold: no NUL, no surrogates.
values = st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """An environment without this process's variables; the test's own variables are removed afterwards."""
    with mock.patch.dict(os.environ, clear=True):
        yield


@given(value=values)
def test_a_text_is_read_as_it_is_and_a_blank_one_is_unset(value: str) -> None:
    with mock.patch.dict(os.environ, {"NAME": value}):
        env = Environment()
        assert env.str("NAME", "default") == (value if value.strip() else "default")
        assert env.is_set("NAME") == bool(value.strip())
        env.finish()


@given(value=values)
def test_a_number_is_read_or_named_as_a_fault(value: str) -> None:
    try:
        expected: int | None = int(value)
    except ValueError:
        expected = None
    with mock.patch.dict(os.environ, {"PORT": value}):
        env = Environment()
        read = env.int("PORT", 8000)
        if expected is not None or not value.strip():
            assert read == (8000 if expected is None else expected)
            env.finish()
        else:
            with pytest.raises(ImproperlyConfigured, match="PORT"):
                env.finish()


@given(names=st.sets(st.from_regex(r"[A-Z]{3,8}", fullmatch=True), min_size=1, max_size=5))
def test_every_fault_is_named_at_once(names: set[str]) -> None:
    with mock.patch.dict(os.environ, dict.fromkeys(names, "no number")):
        env = Environment()
        for name in names:
            env.int(name, 1)
        env.fault("OTHER", "goes with something else")
        with pytest.raises(ImproperlyConfigured) as caught:
            env.finish()
    lines = str(caught.value).splitlines()[1:]
    assert {line.strip().partition(":")[0] for line in lines} == {*names, "OTHER"}
    assert lines == sorted(lines)


def test_without_a_fault_the_start_goes_on() -> None:
    env = Environment()
    assert env.str("NAME", "default") == "default"
    assert env.names_read >= {"NAME"}
    env.finish()


def test_the_processes_environment_comes_before_the_files_and_the_first_file_before_the_second(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("A=1 from the first\nB=from the first\nC=\n# D=comment\n")
    second.write_text("A=from the second\nB=from the second\nC=from the second\nD='quoted text'\n")
    os.environ["A"] = "from the process"
    env = Environment()
    assert env.read_file(first)
    assert env.read_file(second)
    assert not env.read_file(tmp_path / "absent")
    assert [env.str(name, "default") for name in "ABCD"] == [
        "from the process",
        "from the first",
        "from the second",
        "quoted text",
    ]
    env.finish()


def test_an_empty_variable_of_the_process_lets_a_file_speak(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NAME=from the file\n")
    os.environ["NAME"] = ""
    env = Environment()
    env.read_file(tmp_path / ".env")
    assert env.str("NAME", "default") == "from the file"


def test_a_secret_is_read_from_a_file_and_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    os.environ["SECRET_FILE"] = str(tmp_path / "secret")
    os.environ["OTHER_FILE"] = str(tmp_path / "absent")
    env = Environment()
    assert env.str("SECRET", "default") == "from a file"
    env.str("OTHER", "default")
    with pytest.raises(ImproperlyConfigured, match="OTHER"):
        env.finish()
