"""Signals end the process in time, also when the main thread cannot answer."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

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
        assert process.stdout.read() == "saved by leaving\n"


def test_a_main_thread_that_answers_late_decides_the_end_all_the_same():
    """It has a newer state than the one that was kept for the other thread."""
    with _start("""
        late = threading.Event()
        def leave():
            late.set()
            answered.wait()
            return None
        stop.on_no_answer(leave)
        answered = threading.Event()
        print("ready", flush=True)
        late.wait()
        stop.answer()
        answered.set()
        os._exit(7)
    """) as process:
        assert _signal(process, signal.SIGTERM) == 7


TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.mark.parametrize("signals", [(INT, INT), (TERM, INT), (TERM, TERM), (INT, TERM, TERM)])
def test_a_signal_that_comes_again_leaves_the_main_thread_its_time_to_save(signals):
    with _start("""
        module.ANSWER_SECONDS = 60.0
        print("ready", flush=True)
        stop._asked.wait()
        print("asked", flush=True)
        sys.stdin.readline()
        os._exit(75 if stop.requested() and not stop.overdue() else 1)
    """) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.send_signal(signals[0])
        assert process.stdout.readline() == "asked\n"
        for number in signals[1:]:
            process.send_signal(number)
            _wait_until_taken(process.pid, number)
        process.stdin.write("saved\n")
        process.stdin.flush()
        assert process.wait(timeout=20) == ExitCode.PREEMPTED


def test_a_person_who_cannot_wait_gives_the_save_seconds_and_then_leaves_at_once():
    with _start("""
        module.HASTE_SECONDS = 0.1
        print("ready", flush=True)
        while not stop.requested():
            pass
        stop.answer()
        print("saving", flush=True)
        while not stop.overdue():
            pass
        print("overdue", stop.is_hastened, flush=True)
        threading.Event().wait()
    """) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "saving\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "overdue True\n"
        assert _signal(process, signal.SIGINT) == FORCED_EXIT_CODE


def _start(body: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROLOGUE) + textwrap.dedent(body)],
        stdin=subprocess.PIPE,
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


def _wait_until_taken(pid: int, number: int) -> None:
    """Waits until the process has no such signal pending any more."""
    while _has_pending(pid, number):
        pass


def _has_pending(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    masks = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)
