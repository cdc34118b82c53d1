"""Writing a file: what is kept, what is refused, and that nothing is lost when it fails."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from gradaudit.fix.write import WriteFailed, write

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = b"lr: 1\r\n# caf\xc3\xa9", b"lr: 2\r\n# caf\xc3\xa9"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(OLD)
    return path


def alone(path: Path) -> bool:
    """No temporary file was left beside it."""
    return os.listdir(path.parent) == [path.name]


def test_writes_the_bytes(config: Path) -> None:
    write(str(config), OLD, NEW)
    assert config.read_bytes() == NEW
    assert alone(config)


def test_a_relative_path(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    write(config.name, OLD, NEW)
    assert config.read_bytes() == NEW


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o755, 0o200 | 0o444])
def test_keeps_the_mode(config: Path, mode: int) -> None:
    config.chmod(mode)
    write(str(config), OLD, NEW)
    assert config.stat().st_mode & 0o7777 == mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
def test_keeps_the_owner(config: Path) -> None:
    os.chown(config, 12345, 23456)
    write(str(config), OLD, NEW)
    assert (config.stat().st_uid, config.stat().st_gid) == (12345, 23456)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_keeps_extended_attributes(config: Path) -> None:
    try:
        os.setxattr(config, "user.note", b"mine")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    write(str(config), OLD, NEW)
    assert os.getxattr(config, "user.note") == b"mine"


def test_symbolic_links_stay(config: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    first, second = links / "first.yaml", links / "second.yaml"
    first.symlink_to("../config.yaml")
    second.symlink_to("first.yaml")
    write(str(second), OLD, NEW)
    assert config.read_bytes() == NEW
    assert os.readlink(second) == "first.yaml"
    assert os.readlink(first) == "../config.yaml"
    assert sorted(os.listdir(links)) == ["first.yaml", "second.yaml"]


def test_hard_links_are_not_parted(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    os.link(config, other)
    with pytest.raises(WriteFailed, match=r"config\.yaml.*2 names"):
        write(str(config), OLD, NEW)
    assert config.read_bytes() == other.read_bytes() == OLD


def test_a_read_only_file(config: Path) -> None:
    """Also for root, who may write it, and although a rename would do it."""
    config.chmod(0o444)
    with pytest.raises(WriteFailed, match=r"config\.yaml.*read-only.*chmod"):
        write(str(config), OLD, NEW)
    assert config.read_bytes() == OLD
    assert alone(config)


def test_changed_underneath(config: Path) -> None:
    config.write_bytes(b"lr: 3\n")
    with pytest.raises(WriteFailed, match="has changed since it was read"):
        write(str(config), OLD, NEW)
    assert config.read_bytes() == b"lr: 3\n"
    assert alone(config)


def test_changed_at_the_last_moment(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fsync

    def someone_saves(handle: int) -> None:
        flush(handle)
        config.write_bytes(b"lr: 3\n")

    monkeypatch.setattr(os, "fsync", someone_saves)
    with pytest.raises(WriteFailed, match="has changed"):
        write(str(config), OLD, NEW)
    assert config.read_bytes() == b"lr: 3\n"
    assert alone(config)


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_in_the_middle(
    config: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(os, step, fail)
    expected = WriteFailed if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write(str(config), OLD, NEW)
    monkeypatch.undo()
    if isinstance(caught.value, WriteFailed):
        assert "config.yaml: not written: No space left" in caught.value.message
    assert config.read_bytes() == OLD
    assert alone(config)


def test_what_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    dangling = tmp_path / "dangling.yaml"
    dangling.symlink_to("nowhere.yaml")
    for path, reason in (
        (tmp_path / "missing.yaml", "No such file"),
        (dangling, "No such file"),
        (tmp_path, "not a plain file"),
    ):
        with pytest.raises(WriteFailed, match=reason) as caught:
            write(str(path), OLD, NEW)
        assert str(path) in caught.value.message
    assert not (tmp_path / "nowhere.yaml").exists()


def test_a_failing_flush_of_the_directory_is_no_failure(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the file is written; some network file systems cannot flush a directory."""
    flush = os.fsync

    def files_only(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(22, "Invalid argument")
        flush(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    write(str(config), OLD, NEW)
    assert config.read_bytes() == NEW
