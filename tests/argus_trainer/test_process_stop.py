"""Signals end the process in time, also when the main thread cannot answer."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from argus_contract.exit_codes import ExitCode
from argus_trainer.errors import Preempted
from argus_trainer.process.stop import FORCED_EXIT_CODE, Stop


def test_a_stop_that_was_asked_for_raises_at_the_next_check():
    stop = Stop()
    stop.check()
    stop.request()
    with pytest.raises(Preempted):
        stop.check()
    assert stop.requested()
    assert not stop.overdue()


PROLOGUE = """
    import os, sys, threading
    from argus_trainer.errors import Preempted
    from argus_trainer.process import stop as module
    module.ANSWER_SECONDS = 0.2
    stop = module.Stop()
    stop.listen()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_main_thread_that_answers_decides_the_end(number):
    with _start("""
        print("ready", flush=True)
        try:
            while True:
                stop.check()
        except Preempted as error:
            stop.answer()
            os._exit(int(error.exit_code))
    """) as process:
        assert _signal(process, number) == ExitCode.PREEMPTED


def test_a_main_thread_that_is_stuck_is_ended_after_the_newest_state_is_saved():
    with _start("""
        def leave():
            print("saved by", threading.current_thread().name, flush=True)
            return 75
        stop.on_no_answer(leave)
        print("ready", flush=True)
        threading.Lock().acquire() and threading.Event().wait()
    """) as process:
        assert _signal(process, signal.SIGTERM) == ExitCode.PREEMPTED
        assert process.stdout is not None
        assert process.stdout.read() == "saved by signals\n"


def test_a_second_signal_ends_a_process_that_takes_long_to_save():
    with _start("""
        print("ready", flush=True)
        while not stop.requested():
            pass
        stop.answer()
        threading.Event().wait(2 * module.ANSWER_SECONDS)
        print("saving", flush=True)
        threading.Event().wait()
    """) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "saving\n"
        assert _signal(process, signal.SIGTERM) == FORCED_EXIT_CODE


def _start(body: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROLOGUE) + textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _signal(process: "subprocess.Popen[str]", number: int) -> int:
    process.send_signal(number)
    return process.wait(timeout=20)
