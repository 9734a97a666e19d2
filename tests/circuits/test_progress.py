"""What is shown while one waits: a bar in a terminal, plain lines in a pipe, one at a time, with an honest estimate."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from grokscope.circuits import progress
from grokscope.circuits.progress import Bar, bar, say, with_bar

SHOWN = (
    "from grokscope.circuits import progress\n"
    "import time\n"
    "progress.DELAY, progress.LINE_EVERY = 0.0, 0.0\n"
    "for _ in progress.with_bar(range(4), 'outer'):\n"
    "    time.sleep(0.06)\n"
    "    list(progress.with_bar(range(3), 'inner'))\n"
    "progress.say('a line')\n"
)


class Clock:
    """A time that passes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def timed(shown: Bar) -> Clock:
    shown._time = clock = Clock()
    shown.start_t = shown.last_print_t = clock.now
    return clock


def test_a_line_says_how_far_how_long_and_how_much_longer(lines: Callable[[], list[str]]) -> None:
    with bar(1100, "natural", first=100, unit=" steps") as shown:
        clock = timed(shown)
        clock.now += 120
        shown.set_postfix_str("loss 0.30")
        shown.update(200)
        clock.now += 60
    assert lines()[-2:] == [
        "natural: 300 of 1,100 steps, 2 min so far, about 8 min left, loss 0.30",
        "natural: 300 of 1,100 steps in 3 min, loss 0.30",
    ]


def test_what_was_done_before_does_not_spoil_the_estimate(lines: Callable[[], list[str]]) -> None:
    with bar(103, "measuring") as shown:
        clock = timed(shown)
        for _ in range(50):
            clock.now += 1
            shown.skip()
        clock.now += 100
        shown.update()
    assert lines()[-2] == "measuring: 51 of 103, 2.5 min so far, about 87 min left"


def test_the_number_of_items_may_be_unknown(lines: Callable[[], list[str]]) -> None:
    with bar(None, "reading") as shown:
        clock = timed(shown)
        clock.now += 40
        shown.update(2000)
    assert lines()[-1] == "reading: 2,000 in 40 s"


def test_a_bar_within_another_is_silent_and_the_next_one_is_not(lines: Callable[[], list[str]]) -> None:
    for _ in with_bar(range(2), "outer"):
        assert all(isinstance(each, int) for each in with_bar(range(2), "inner"))
    list(with_bar(range(2), "next"))
    assert {line.partition(":")[0] for line in lines()} == {"outer", "next"}


def test_what_is_short_or_not_asked_for_shows_nothing(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(progress, "DELAY", 2.0)
        list(with_bar(range(3), "short"))
    with bar(3, "not asked for", show=False) as shown:
        shown.skip()
        shown.update()
    say("nor this", show=False)
    assert lines() == []


def test_a_pipe_gets_lines_that_are_never_written_again(lines: Callable[[], list[str]]) -> None:
    list(with_bar(range(3), "three"))
    found = lines()
    assert found and all(line.startswith("three: ") and "\r" not in line for line in found)


@pytest.mark.skipif(os.name != "posix", reason="there is no pseudo-terminal")
def test_a_terminal_gets_one_bar() -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SHOWN]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        found = b""
        while True:
            try:
                found += os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
        assert process.wait(20) == 0
    os.close(ours)
    text = found.decode()
    assert "\r" in text and "outer: 100%|" in text and "4 of 4 in 0 s" in text and "inner" not in text
    assert text.splitlines()[-1] == "a line"


def test_bars_of_text_stand_in_for_widgets_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = pytest.importorskip("tqdm.notebook")
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(notebook, "IProgress", None)
    assert progress.is_watched() and progress._watched_kind() is Bar
    monkeypatch.setattr(notebook, "IProgress", object)
    assert issubclass(progress._watched_kind(), notebook.tqdm)


def test_times_are_read_at_a_glance() -> None:
    assert [progress.in_words(each) for each in (0.2, 89, 91, 5399, 5401)] == ["0 s", "89 s", "1.5 min", "90 min", "1.5 h"]
