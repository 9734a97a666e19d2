"""Commands and their worker processes, stopped by real signals: one line, the right code, nobody left."""

import os
import signal
import subprocess
import sys

import pytest
from processes import IN_PROC, is_there

COMMAND = """
import os, sys, time
from joblib import delayed
from grokscope.circuits.command import run_command
from grokscope.circuits.interrupts import noticing_interrupts, stop_at_once
from grokscope.circuits.progress import bar
from grokscope.circuits.workers import end_workers, in_workers, listening, tell_workers

def work(number):
    with bar(1, "none of this is shown", show=False): pass
    try:
        with noticing_interrupts(then=stop_at_once), listening():
            os.write(1, b"%d\\n" % os.getpid())  # by print, lines of two processes can run into each other
            time.sleep(60)
    except KeyboardInterrupt:
        return "told"

def alone(): print("ready", flush=True); time.sleep(60)

def telling():
    with noticing_interrupts(then=tell_workers) as stop:
        with in_workers((delayed(work)(number) for number in range(9) if not stop.asked), n_jobs=2) as found:
            said = list(found)
        end_workers()
        raise stop.interrupted(f"stopped: {said}")

def killing():
    with noticing_interrupts(then=stop_at_once) as stop:
        try:
            with in_workers((delayed(work)(number) for number in range(9)), n_jobs=2) as found:
                list(found)
        except KeyboardInterrupt:
            raise stop.interrupted("stopped: killed") from None

run_command({"alone": alone, "telling": telling, "killing": killing}[sys.argv.pop()], stopped="stopped; all is kept")
"""
ENDS = {"alone": "stopped; all is kept", "telling": "stopped: ['told', 'told']", "killing": "stopped: killed"}


@IN_PROC
@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("alone", signal.SIGTERM),
        ("telling", signal.SIGINT),
        ("killing", signal.SIGTERM),
        pytest.param("alone", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("telling", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("killing", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_command_ends_with_a_line_and_a_code_and_leaves_no_worker(how: str, number: signal.Signals) -> None:
    """Ctrl-C reaches all processes of the terminal, SIGTERM the first one alone."""
    command = [sys.executable, "-c", COMMAND, how]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        assert process.stdout and process.stderr
        workers = [process.stdout.readline().strip() for _ in range(1 if how == "alone" else 2)]
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        said = process.stderr.read().strip()
        assert process.wait(30) == 128 + number
    assert said == ENDS[how]
    assert not any(is_there(int(worker)) for worker in workers if worker != "ready")
