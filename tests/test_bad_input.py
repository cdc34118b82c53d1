"""Bad input ends with a clear message and the right exit code, soon, with nothing written.

Every case goes through the real command in a process of its own, with 2 GB of memory and 20 s.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

resource = pytest.importorskip("resource", reason="limits memory as POSIX does")

ROOT = Path(__file__).resolve().parent.parent
TRAINS = "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 32\n"
SECONDS = 20
MEMORY = 2 << 30


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def words(self) -> str:
        """All that was said, with the wrapping undone."""
        return " ".join((self.out + self.err).split())


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def environment() -> dict[str, str]:
    unwanted = ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def run(*words: str, cwd: Path, before: Callable[[], None] = limited, stdin: bytes = b"") -> Ran:
    ran = subprocess.run(
        [sys.executable, "-m", "gradaudit", *words],
        cwd=cwd,
        env=environment(),
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        preexec_fn=before,
        check=False,
    )
    out, err = ran.stdout.decode("utf-8"), ran.stderr.decode("utf-8")
    assert ran.returncode in (0, 1, 2), err
    assert "Traceback" not in out + err
    assert "\x1b" not in out + err
    assert "\x07" not in out + err
    return Ran(ran.returncode, out, err)


def nested(opening: str, depth: int, closing: str = "") -> str:
    return "a: " + opening * depth + closing * depth


def bomb(entry: str, first: str, joined: Callable[[str], str]) -> str:
    """Anchors of which each refers nine times to the one before: 9^12 when written out."""
    lines = [f"a0: &a0 {first}"]
    lines += [entry.format(i, joined(f"*a{i - 1}")) for i in range(1, 13)]
    return "\n".join(lines) + "\n"


UNPARSABLE: dict[str, tuple[str, bytes | str, int, str]] = {
    "binary": ("x.yaml", bytes(range(256)) * 4, 1, "NUL"),
    "picture": ("x.yaml", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 3, "NUL"),
    "UTF-16 without a mark": ("x.yaml", TRAINS.encode("utf-16-le"), 1, "save it as UTF-8"),
    "broken UTF-16": ("x.yaml", b"\xff\xfea", 1, "save it as UTF-8"),
    "invalid UTF-8": ("x.yaml", b"lr: 1.0e-4\nname: \xff\xfe\n", 2, "save the file as UTF-8"),
    "latin-1": ("x.yaml", "lr: 1.0e-4\n\nname: größe\n".encode("latin-1"), 3, "UTF-8"),
    "50 MB": ("x.yaml", b"learning_rate: 1.0e-4\n" * (50 * 2**20 // 22), 1, "5 MiB"),
    "NUL": ("x.yaml", b'lr: 1.0e-4\nx: "a\0b"\n', 2, "NUL"),
    "control character": ("x.yaml", b'lr: 1.0e-4\nx: "a\x01b"\n', 2, "delete it"),
    "flow nesting": ("x.yaml", nested("[", 100_000), 1, "nested deeper than 200"),
    "closed flow nesting": ("x.yaml", nested("[", 100_000, "]"), 1, "nested deeper than 200"),
    "mapping nesting": ("x.yaml", nested("{a: ", 100_000), 1, "nested deeper than 200"),
    "sequence nesting": ("x.yaml", "- " * 100_000 + "x", 1, "nested deeper than 200"),
    "block nesting": (
        "x.yaml", "\n".join(" " * i + "a:" for i in range(2500)), 201, "nested deeper than 200",
    ),
    "undefined alias": ("x.yaml", "optimizer: adamw\nlr: *nope\n", 2, "no anchor &nope"),
    "tab": ("x.yaml", "optimizer:\n\tlr: 1\n", 2, "use spaces"),
    "template": ("x.yaml", "lr: {{ lr }}\nx: {% if a %}\n", 2, "template"),
    "unclosed quote": ("x.yaml", 'lr: "1\n', 2, "begun on line 1"),
    "broken JSON": ("x.json", '{"lr": 1e-4,\n "optimizer"', 2, "not valid JSON"),
    "YAML in a .json": ("x.json", "lr: 1e-4\n", 1, 'write `"lr"`'),
    "empty JSON": ("x.json", "", 1, "no value in the file"),
    "JSON nesting": ("x.json", "[" * 100_000, 1, "nested deeper than 200"),
    "closed JSON nesting": ("x.json", '{"a": ' * 9999 + "1" + "}" * 9999, 1, "nested deeper than"),
    "unterminated JSON text": ("x.jsonc", '{\n"lr": "' + "x" * 5_000_000, 2, "close it"),
    "unterminated JSON comment": ("x.jsonc", "{\n/*" + "* " * 2_000_000, 2, "is not closed"),
    "NUL in JSON": ("x.json", b'{"lr":\n"\0"}', 2, "NUL"),
    "control character in JSON": ("x.json", b'{"lr":\n"\x01"}', 2, "must be escaped"),
    "half a character in JSON": ("x.json", '{"lr":\n"\\ud83d"}', 2, "half of a surrogate pair"),
    "template of JSON": ("x.json", '{"lr":\n{{ lr }}}', 2, "template"),
    "more JSON than anyone has": ("x.json", "[" + "1," * 510_000 + "1]", 1, "more than 500,000"),
    "broken TOML": ("x.toml", "lr = 1\nlr = 2\n", 2, "not valid TOML: cannot overwrite"),
    "TOML nesting": ("x.toml", "lr = " + "[" * 100_000, 1, "nested deeper than 200"),
    "closed TOML nesting": ("x.toml", "a = " + "[" * 9999 + "]" * 9999, 1, "nested deeper than"),
    "TOML table nesting": ("x.toml", "[" + "a." * 100_000 + "a]\nlr = 1\n", 1, "nested deeper"),
    "TOML key nesting": ("x.toml", "lr" + ".a" * 100_000 + " = 1\n", 1, "nested deeper than 200"),
    "unterminated TOML text": ("x.toml", 'lr = """' + "x" * 5_000_000, 1, "unterminated"),
    "NUL in TOML": ("x.toml", b"lr = 1\nx = '\0'\n", 2, "NUL"),
    "endless integer in TOML": ("x.toml", "lr = 1\nx = " + "9" * 9999, 2, "more digits than"),
    "no UTF-8 in TOML": ("x.toml", b"lr = 1\nx = '\xff'\n", 2, "UTF-8"),
    "more TOML than anyone has": ("x.toml", "a = [" + "1," * 510_000 + "1]", 1, "more than 500,"),
    "more units than anyone has": (
        "x.yaml", "---\noptimizer: adamw\nlr: 1.0e-4\n" * 20_000, 1502, "split it",
    ),
    "more nodes than anyone has": ("x.yaml", "- x\n" * 600_000, 1, "more than 500,000"),
}  # fmt: skip
"""Name -> file name, content, the line that the message names, words of the message."""

HARMLESS: dict[str, bytes | str] = {
    "empty": "",
    "comments only": "# nothing\n\n# here\n",
    "null": "null\n",
    "list": "- a\n- lr: 1.0e-4\n",
    "scalar": "hello\n",
    "UTF-16": TRAINS.encode("utf-16"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + TRAINS.encode(),
    "CRLF": TRAINS.replace("\n", "\r\n"),
    "no newline at the end": TRAINS.rstrip(),
    "alias bomb": bomb("a{0}: &a{0} [{1}]", "[x]", lambda a: ", ".join([a] * 9)),
    "mapping bomb": bomb(
        "a{0}: &a{0} {{{1}}}", "{z: 1}", lambda a: ", ".join(f"k{j}: {a}" for j in range(9))
    ),
    "merge bomb": bomb("a{0}: &a{0} {{<<: [{1}]}}", "{z: 1}", lambda a: ", ".join([a] * 9)),
    "recursive sequence": TRAINS + "x: &a [*a, *a]\n",
    "recursive mapping": TRAINS + "x: &a\n  y: *a\n",
    "recursive merge": TRAINS + "x: &a\n  <<: *a\n",
    "merge of a number": TRAINS + "<<: 5\n",
    "unknown tags": TRAINS + 'x: !!python/object/apply:os.system ["touch pwned"]\ny: !Foo {a: 1}\n',
    "keys that are no text": "? [1, 2]\n: x\n? {a: b}\n: y\n" + TRAINS,
    "key with a newline": '"a\\nb": 1\n' + TRAINS,
    "escapes in keys and values": TRAINS + '"\\e[31mred\\a": "\\e]0;title\\a"\nü: "\\u202e"\n',
    "a long line": TRAINS + "x: " + "y" * 3_000_000 + "\n",
    "100,000 lines": TRAINS + "".join(f"k{i}: v{i}\n" for i in range(100_000)),
    "100,000 anchors": TRAINS + "".join(f"k{i}: &a{i} 1\n" for i in range(100_000)),
    "200,000 aliases": "a: &a {z: 1}\n" + TRAINS + "x:\n" + "- *a\n" * 200_000,
    "one mapping merged into 50,000": "base: &b\n"
    + "".join(f"  k{i}: {i}\n" for i in range(2000))
    + "x:\n"
    + "".join(f"  m{i}: {{<<: *b}}\n" for i in range(50_000)),
    "numbers of 100,000 digits": TRAINS
    + "weight_decay: "
    + "9" * 100_000
    + "\nseed: 0x"
    + "f" * 9999,
    "50,000 comments": TRAINS + "# gradaudit: ignore\n" * 50_000 + "x: 1\n",
}

OTHER_FORMATS: dict[str, tuple[str, bytes | str]] = {
    "JSON, empty": ("x.json", "{}"),
    "JSON, scalar": ("x.json", '"x"'),
    "JSON, UTF-16": ("x.json", '{"optimizer": "adamw", "lr": 1e-4}'.encode("utf-16")),
    "JSON, numbers that are none": ("x.json", '{"optimizer": "adamw", "x": [NaN, -Infinity]}'),
    "JSON, a long text": ("x.jsonc", '{"optimizer": "' + "y\\n" * 1_000_000 + '"}'),
    "JSON, many comments": ("x.jsonc", "{\n" + "// gradaudit: ignore\n" * 50_000 + "}"),
    "JSON, keys that act": ("x.json", '{"lr": 1e-4, "\\u001b[31m\\u202e": "\\u0000\\u0007"}'),
    "JSON, a merge that is none": ("x.json", '{"optimizer": "adamw", "<<": {"lr": 1e-4}}'),
    "TOML, empty": ("x.toml", ""),
    "TOML, UTF-16": ("x.toml", "optimizer = 'adamw'\nlr = 1e-4\n".encode("utf-16")),
    "TOML, dates": ("x.toml", "optimizer = 1979-05-27 07:32:00Z\nlr = 07:32:00\n"),
    "TOML, many comments": ("x.toml", "lr = 1e-4\n" + "# gradaudit: ignore\n" * 50_000),
    "TOML, dotted keys": ("x.toml", "".join(f"a{'.a' * 40}.k{i} = {i}\n" for i in range(3000))),
    "TOML, a long text": ("x.toml", 'lr = 1e-4\nx = """' + "y\\n" * 1_000_000 + '"""\n'),
    "TOML, many tables": ("x.toml", "lr = 1e-4\n" + "".join(f"[t{i}]\n" for i in range(20_000))),
}

SLOW = {
    "50 MB", "one mapping merged into 50,000", "100,000 anchors", "100,000 lines",
    "200,000 aliases", "50,000 comments", "more units than anyone has",
    "more nodes than anyone has", "numbers of 100,000 digits",
    "closed JSON nesting", "JSON, a long text", "JSON, many comments",
    "unterminated JSON text", "unterminated JSON comment", "more JSON than anyone has",
    "closed TOML nesting", "TOML table nesting", "TOML key nesting", "TOML, a long text",
    "TOML, dotted keys", "TOML, many comments", "TOML, many tables", "unterminated TOML text",
    "more TOML than anyone has",
}  # fmt: skip
"""Over a second for the four commands together."""


def marked(names: dict[str, object]) -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in sorted(names)
    ]


def write(path: Path, content: bytes | str) -> bytes:
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    path.write_bytes(data)
    return data


@pytest.mark.parametrize("name", marked(dict(UNPARSABLE)))
def test_what_cannot_be_read_is_an_error_with_its_line(name: str, tmp_path: Path) -> None:
    file, content, line, words = UNPARSABLE[name]
    data = write(tmp_path / file, content)
    for command in (("check",), ("fix", "--write"), ("show",), ("report",)):
        ran = run(*command, file, cwd=tmp_path)
        judges = command[0] in ("check", "fix")
        assert ran.code == (1 if judges else 0), ran.words
        assert words.lower() in ran.words.lower()
        assert file in ran.words
        if command[0] == "check":
            assert "error[GA001]" in ran.out
            assert f"{file}:{line}:" in ran.out
    document = json.loads(run("check", "--format", "json", file, cwd=tmp_path).out)
    (finding,) = document["files"][0]["findings"]
    assert (finding["code"], finding["severity"], finding["line"]) == ("GA001", "error", line)
    assert (tmp_path / file).read_bytes() == data
    assert os.listdir(tmp_path) == [file]


@pytest.mark.parametrize("name", marked(dict(HARMLESS)))
def test_what_is_odd_but_readable_is_judged(name: str, tmp_path: Path) -> None:
    data = write(tmp_path / "x.yaml", HARMLESS[name])
    for command in (("check",), ("fix", "--write"), ("show",), ("report",)):
        ran = run(*command, "x.yaml", cwd=tmp_path)
        assert ran.code == 0, ran.words
        assert "GA001" not in ran.out
    assert (tmp_path / "x.yaml").read_bytes() == data
    assert os.listdir(tmp_path) == ["x.yaml"]


@pytest.mark.parametrize("name", marked(dict(OTHER_FORMATS)))
def test_what_is_odd_but_readable_in_other_formats_is_judged(name: str, tmp_path: Path) -> None:
    file, content = OTHER_FORMATS[name]
    data = write(tmp_path / file, content)
    for command in (("check",), ("fix", "--write"), ("show",), ("report",)):
        ran = run(*command, file, cwd=tmp_path)
        assert ran.code == 0, ran.words
        assert "GA001" not in ran.out
    assert (tmp_path / file).read_bytes() == data


FOREIGN = {
    "gradaudit.toml": "[assume]\nworld_size = 8\n",
    "pyproject.toml": "[tool.train]\noptimizer = 'adamw'\nlearning_rate = -1.0\nbatch_size = 32\n",
    "Cargo.toml": "optimizer = 'adamw'\nlearning_rate = -1.0\nbatch_size = 32\n",
    "package.json": '{"optimizer": "adamw", "learning_rate": -1.0, "batch_size": 32}',
    "package-lock.json": '{"optimizer": "adamw", "learning_rate": -1.0, "batch_size": 32}',
    "tsconfig.build.json": '{"optimizer": "adamw", "learning_rate": -1.0, // c\n "batch_size": 9,}',
    "pnpm-lock.yaml": "optimizer: adamw\nlearning_rate: -1.0\nbatch_size: 32\n",
    "tokenizer.json": '{"optimizer": "adamw", "learning_rate": -1.0, "batch_size": 32}',
}


def test_files_of_other_tools_are_judged_only_where_they_are_named(tmp_path: Path) -> None:
    for name, content in FOREIGN.items():
        write(tmp_path / name, content)
    for name in ("a.toml", "b.jsonc", "c.json"):
        text = FOREIGN["Cargo.toml" if name == "a.toml" else "package.json"]
        write(tmp_path / name, text.replace("-1.0", "1.0e-4"))
    assert files_in(".", tmp_path) == ["./a.toml", "./b.jsonc", "./c.json"]
    ran = run("check", *FOREIGN, cwd=tmp_path)
    assert ran.code == 1
    assert ran.out.count("error[GA703]") == len(FOREIGN) - 1


def test_an_unparsable_file_is_not_hidden_by_a_good_one(tmp_path: Path) -> None:
    write(tmp_path / "good.yaml", TRAINS)
    write(tmp_path / "bad.yaml", "a: [")
    ran = run("check", "good.yaml", "bad.yaml", cwd=tmp_path)
    assert ran.code == 1
    assert "bad.yaml:" in ran.out


@pytest.mark.parametrize("command", [["check"], ["fix", "--write"], ["show"], ["report"]])
def test_a_missing_file_is_named_with_its_neighbour(command: list[str], tmp_path: Path) -> None:
    write(tmp_path / "train.yaml", TRAINS)
    ran = run(*command, "trian.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "trian.yaml" in ran.words
    assert "no such file" in ran.words
    assert "did you mean train.yaml?" in ran.words


def test_a_missing_file_does_not_stop_the_others(tmp_path: Path) -> None:
    write(tmp_path / "bad.yaml", "optimizer: adamw\nlearning_rate: -1\n")
    ran = run("check", "nowhere/x.yaml", "bad.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "GA703" in ran.out
    assert "there is no directory nowhere either" in ran.words


def without_override() -> None:
    """Let permissions hold for root too: take from it the right to pass over them."""
    import ctypes

    limited()
    drop_from_bounding_set, override, read_search = 24, 1, 2
    libc = ctypes.CDLL(None)
    for capability in (override, read_search):
        if libc.prctl(drop_from_bounding_set, capability, 0, 0, 0):
            os._exit(99)


@pytest.fixture
def obedient() -> Callable[[], None]:
    """What a child does first so that a file of mode 0 is closed to it."""
    if os.geteuid() != 0:
        return limited
    if sys.platform != "linux":
        pytest.skip("runs as root, who may read everything")
    return without_override


@pytest.mark.parametrize("command", [["check"], ["fix", "--write"], ["show"], ["report"]])
def test_a_file_without_permission(
    command: list[str], tmp_path: Path, obedient: Callable[[], None]
) -> None:
    write(tmp_path / "x.yaml", TRAINS)
    (tmp_path / "x.yaml").chmod(0)
    ran = run(*command, "x.yaml", cwd=tmp_path, before=obedient)
    assert ran.code == 2
    assert "x.yaml: no permission to read it" in ran.words


def test_a_directory_without_permission(tmp_path: Path, obedient: Callable[[], None]) -> None:
    write(tmp_path / "good.yaml", TRAINS)
    (tmp_path / "closed").mkdir(mode=0)
    try:
        for command in (["check"], ["fix", "--write"]):
            ran = run(*command, ".", cwd=tmp_path, before=obedient)
            assert ran.code == 2
            assert "closed: no permission to read it" in ran.words
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize("command", [["check"], ["fix", "--write"], ["show"], ["report"]])
def test_a_pipe_is_not_waited_for(command: list[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    ran = run(*command, "pipe.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "is not a regular file; give its text on standard input" in ran.words
    assert stat.S_ISFIFO((tmp_path / "pipe.yaml").stat().st_mode)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_read(device: str, tmp_path: Path) -> None:
    ran = run("check", device, cwd=tmp_path)
    assert ran.code == 2
    assert "is not a regular file" in ran.words


def test_a_pipe_in_a_directory_is_no_config(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    write(tmp_path / "x.yaml", TRAINS)
    ran = run("check", cwd=tmp_path)
    assert ran.code == 0
    assert "in 1 file." in ran.out


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path / "x.yaml", TRAINS)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.yaml").symlink_to("self.yaml")
    (tmp_path / "gone.yaml").symlink_to("nowhere.yaml")
    (tmp_path / "same.yaml").symlink_to("x.yaml")
    ran = run("check", cwd=tmp_path)
    assert ran.code == 0
    assert "in 1 file." in ran.out
    ran = run("check", "self.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "self.yaml" in ran.words


def test_a_file_that_goes_away_after_it_was_found(tmp_path: Path) -> None:
    program = """
import os, sys
from gradaudit.__main__ import main
from gradaudit import audit
read = audit.read
def late(path):
    os.path.exists("x.yaml") and os.remove("x.yaml")
    return read(path)
audit.read = late
sys.exit(main(["check", "."]))
"""
    write(tmp_path / "a.yaml", TRAINS)
    write(tmp_path / "x.yaml", TRAINS)
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 2, ran.stderr
    assert "x.yaml: no such file or directory" in ran.stdout
    assert "Traceback" not in ran.stderr


def test_an_empty_name_is_no_file(tmp_path: Path) -> None:
    assert run("check", "", cwd=tmp_path).code == 2


def test_nul_in_a_name_from_a_script(tmp_path: Path) -> None:
    from gradaudit.discover import Unavailable, discover

    (found,) = discover(["a\0b"])
    assert isinstance(found, Unavailable)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["full", "concise", "json", "markdown"])
def test_20_000_findings_take_bounded_time(style: str, tmp_path: Path) -> None:
    lines = "".join(f"  k{i}_lr: 1e-4\n" for i in range(20_000))
    write(tmp_path / "x.yaml", TRAINS + "x:\n" + lines)
    ran = run("check", "--format", style, "--fail-on", "info", "x.yaml", cwd=tmp_path)
    assert ran.code == 1
    assert ran.out.count("GA702") >= 20_000


def test_what_is_beyond_the_frames_has_a_line_each(tmp_path: Path) -> None:
    lines = "".join(f"  k{i}_lr: 1e-4\n" for i in range(600))
    write(tmp_path / "x.yaml", TRAINS + "x:\n" + lines)
    ran = run("check", "--fail-on", "info", "x.yaml", cwd=tmp_path)
    assert ran.out.count("= why:") == 500
    assert ran.out.count("GA702") == 600


def test_nothing_in_a_file_acts_on_the_terminal(tmp_path: Path) -> None:
    text = (
        "optimizer: adamw\n"
        "lr: 1e-4  # \u202e \u0085 increased from 0.1\n"
        '"a\\e[31m\\nb_lr": 1e-4\n'
        '"\\e]0;t\\a_loss_weight": 10.0 # increased from 1.0 \u202e\n'
        "mse_loss_weight: 1.0\n"
        '"lr\\r": 1\n"lr\\r": 2\n'
    )
    write(tmp_path / "x.yaml", text)
    for command in (["check"], ["check", "--format", "concise"], ["fix"], ["show"], ["check", "-"]):
        ran = run(*command, "x.yaml", cwd=tmp_path)
        for char in ran.out + ran.err:
            assert char == "\n" or char.isprintable(), repr(char)
    (tmp_path / "\x1b[31m.yaml").write_text("a: [", encoding="utf-8")
    ran = run("check", "\x1b[31m.yaml", cwd=tmp_path)
    assert ran.code == 1


def test_each_finding_of_a_concise_list_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "x.yaml", 'optimizer: adamw\n"l\\nr_lr": 1e-4\n"a\\nb": 1\n"a\\nb": 2\n')
    ran = run("check", "--format", "concise", "--fail-on", "info", "x.yaml", cwd=tmp_path)
    found = [line for line in ran.out.splitlines() if "GA70" in line]
    assert found
    assert all(line.startswith("x.yaml:") for line in found)


@pytest.mark.parametrize("style", ["full", "json"])
def test_a_reader_that_goes_away_ends_it_quietly(style: str, tmp_path: Path) -> None:
    lines = "".join(f"  k{i}_lr: 1e-4\n" for i in range(2000))
    write(tmp_path / "x.yaml", TRAINS + "x:\n" + lines)
    command = f"{sys.executable} -m gradaudit check --format {style} x.yaml | head -1"
    ran = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert len(ran.stdout.splitlines()) == 1
    assert ran.stderr == ""


def test_gitignore_is_obeyed_where_there_is_a_repository(tmp_path: Path) -> None:
    (tmp_path / ".git" / "info").mkdir(parents=True)
    write(tmp_path / ".git" / "info" / "exclude", "excluded.yaml\n")
    write(tmp_path / ".gitignore", "# old runs\n/runs/\n*.tmp.yaml\nlogs/*\n!logs/keep.yaml\n")
    for name in (
        "a.yaml", "b.tmp.yaml", "runs/x.yaml", "deep/runs/y.yaml", "logs/no.yaml",
        "logs/keep.yaml", "deep/only.yaml", "deep/b.tmp.yaml", "excluded.yaml",
        ".hidden/z.yaml", "node_modules/n.yaml",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, TRAINS)
    write(tmp_path / "deep" / ".gitignore", "only.yaml\n!b.tmp.yaml\n")
    found = files_in(".", tmp_path)
    assert found == ["./a.yaml", "./deep/b.tmp.yaml", "./deep/runs/y.yaml", "./logs/keep.yaml"]
    assert files_in("deep", tmp_path) == ["deep/b.tmp.yaml", "deep/runs/y.yaml"]
    assert files_in("runs/x.yaml", tmp_path) == ["runs/x.yaml"]  # named: judged whatever git says


def files_in(path: str, cwd: Path) -> list[str]:
    document = json.loads(run("check", "--format", "json", path, cwd=cwd).out)
    return sorted(file["path"] for file in document["files"])


SETTINGS = {
    "not TOML": ("select = [", ["gradaudit.toml", "not valid TOML"]),
    "not UTF-8": ("# \udcff", ["gradaudit.toml", "not valid TOML"]),
    "unknown key": ("selct = []", ["unknown key `selct`", "did you mean `select`?"]),
    "wrong type": ('select = "GA1"', ["`select`", "list of rule codes"]),
    "wrong table": ("severity = 3", ["`severity` takes a table"]),
    "unknown rule": ('ignore = ["GA999"]', ["no rule is called 'GA999'"]),
    "misspelt rule": ('ignore = ["batch-norm-tiny-batsh"]', ["batch-norm-tiny-batch"]),
    "unknown severity": ('[severity]\nGA301 = "loud"', ["error, warning, info or off"]),
    "unknown fail-on": ('fail-on = "loud"', ["`fail-on`", "error, warning or info"]),
    "fail-on of the wrong type": ("fail-on = []", ["`fail-on`", "error, warning or info"]),
    "unknown threshold": ("[rules.GA301]\nwarnin = 3", ["threshold `warnin`", "warning"]),
    "threshold that is no number": ('[rules.GA301]\nwarning = "x"', ["takes a number"]),
    "extends itself": ('extend = "gradaudit.toml"', ["leads back to this file"]),
    "extends a circle": ('extend = "other.toml"', ["leads back to this file"]),
    "extends nothing": ('extend = "nowhere.toml"', ["no such file"]),
    "extends a number": ("extend = 3", ["path of a settings file"]),
    "assumes what is no setting": ("[assume]\nnrom = 'batch'", ["nrom", "did you mean `norm`?"]),
    "assumes what is no number": ("[assume]\nworld_size = 'x'", ["world_size", "takes a number"]),
    "per-file codes that are no list": ('[per-file-ignores]\n"*" = "GA1"', ["list of rule codes"]),
}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_bad_settings_say_what_to_mend(name: str, tmp_path: Path) -> None:
    text, words = SETTINGS[name]
    (tmp_path / "gradaudit.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    write(tmp_path / "other.toml", 'extend = "gradaudit.toml"')
    data = write(tmp_path / "x.yaml", TRAINS.replace("1.0e-4", "1e-4"))
    for command in (["check"], ["fix", "--write"]):
        ran = run(*command, "x.yaml", cwd=tmp_path)
        assert ran.code == 2, ran.words
        assert "gradaudit.toml" in ran.words or "x.yaml" in ran.words
        for expected in words:
            assert expected in ran.words
    assert (tmp_path / "x.yaml").read_bytes() == data
