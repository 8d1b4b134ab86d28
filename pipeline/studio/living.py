"""`dreamreel live` for the studio: as on the command line, but it ends with its standard input, so
that none is left of a server that was killed."""

import os
import runpy
import signal
import sys
import threading
import time

ENDS_WITHIN = 5.0  # seconds for which it may close its files, once it is asked to end


def main() -> None:
    """Dream live with the arguments of this process, until the input ends."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    sys.argv = ["dreamreel", "live", *sys.argv[1:]]
    runpy.run_module("dreamreel.cli", run_name="__main__")


def _end_with_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    signal.raise_signal(signal.SIGINT)
    time.sleep(ENDS_WITHIN)
    os._exit(1)


if __name__ == "__main__":
    main()
