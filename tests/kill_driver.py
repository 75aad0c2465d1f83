"""Trains by a recipe in child processes that are killed at random moments, until one of them gets to the end.

Run as ``python kill_driver.py RECIPE KILLS SEED``; prints how many were killed. Children are forked, so that the
libraries are loaded once.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from focusllm.training.recipe import read_recipe
from focusllm.training.run import train


def run_and_kill(recipe: Path, seconds: float | None) -> bool:
    """Train in a child, kill it after so many seconds, and say whether it had got to the end."""
    child = os.fork()
    if child == 0:
        try:
            train(read_recipe(recipe))
        except BaseException:
            os._exit(1)
        os._exit(0)
    deadline = None if seconds is None else time.perf_counter() + seconds
    while True:
        pid, status = os.waitpid(child, 0 if deadline is None else os.WNOHANG)
        if pid:
            if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status) != 0:
                raise SystemExit("a run that was not killed failed")
            return True
        if deadline is not None and time.perf_counter() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.002)


def main() -> None:
    """Kill so many runs, then let one finish."""
    recipe, kills, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    killed = 0
    for _ in range(kills):
        killed += not run_and_kill(recipe, rng.uniform(0.3, 1.3))
    run_and_kill(recipe, None)
    print(killed)


if __name__ == "__main__":
    main()
