"""Signals are noticed within a block, and handlers are put back."""

import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

from grokscope.circuits.interrupts import SIGNALS, Stop, noticing_interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noticed_the_second_interrupts_and_handlers_are_put_back(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(KeyboardInterrupt, match="at once") as raised, noticing_interrupts() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked and stop.interrupted("saved").exit_code == 128 + number
        os.kill(os.getpid(), number)
    assert raised.value.exit_code == 128 + number
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_what_the_process_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with noticing_interrupts() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGTERM, before)


def test_of_two_blocks_the_inner_one_notices() -> None:
    with noticing_interrupts() as outer:
        with noticing_interrupts() as inner:
            os.kill(os.getpid(), signal.SIGINT)
        assert inner.asked and not outer.asked
        os.kill(os.getpid(), signal.SIGINT)
    assert outer.asked


def test_outside_the_main_thread_nothing_is_caught() -> None:
    found: list[Stop] = []

    def work() -> None:
        with noticing_interrupts() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not found[0].asked


def test_it_is_a_keyboard_interrupt_of_one_line_and_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(Stop(signal.SIGTERM).interrupted("natural: stopped at step 3")))
    assert isinstance(error, KeyboardInterrupt) and error.exit_code == 143
    assert error._render_traceback_() == ["natural: stopped at step 3"]


def test_a_signal_of_another_process_is_noticed() -> None:
    code = (
        "import time\n"
        "from grokscope.circuits.interrupts import noticing_interrupts\n"
        "with noticing_interrupts() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop.asked: time.sleep(0.01)\n"
        "raise SystemExit(stop.interrupted('').exit_code)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
