"""The live dream that the studio's page shows: a process of `dreamreel live`, and its stream."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx

from dreamreel.pipeline.studio.folder import Studio

ENDS_WITHIN = 5.0  # seconds for which a process that was asked to end is waited for
TOLD_OF = 6  # lines of progress, half a second apart, of which the rate is told
BEGINS_WITHIN = 60.0  # seconds until the first frame: networks are loaded meanwhile


class Live:
    """At most one live dream at a time."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._process: subprocess.Popen[str] | None = None
        self._told: deque[tuple[float, int]] = deque(maxlen=TOLD_OF)
        self._address: str | None = None
        self._one = threading.Lock()  # of starts and stops, which come from several pages
        self.error = ""

    @property
    def is_on(self) -> bool:
        """Whether a live dream runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_seen(self) -> bool:
        """Whether it has shown a frame."""
        return self.is_on and self._address is not None and bool(self._told)

    @property
    def rate(self) -> float:
        """Frames a second."""
        if len(self._told) < 2:
            return 0.0
        (before, first), (now, last) = self._told[0], self._told[-1]
        return (last - first) / (now - before)

    def start(self, source: str, words: list[str]) -> None:
        """Dream `source` live, with the options `words`, in place of what is dreamed."""
        with self._one:
            self._start(source, words)

    def stop(self) -> None:
        """End the live dream, if there is one."""
        with self._one:
            self._stop()

    def _start(self, source: str, words: list[str]) -> None:
        self._stop()
        self.error, self._address = "", None
        self._told.clear()
        command = [sys.executable, "-m", "dreamreel.pipeline.studio.living", source, "--port", "0"]
        self._process = subprocess.Popen(
            [*command, "--json-progress", *words],
            stdin=subprocess.PIPE,  # with which it ends
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._studio.root,
        )
        for work in (self._listen, self._hear_errors):
            threading.Thread(target=work, args=(self._process,), daemon=True).start()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDS_WITHIN)
        if process.poll() is None:
            process.kill()
            process.wait()

    async def stream(self) -> AsyncIterator[bytes]:
        """The stream of JPEG pictures, as `showing.MULTIPART` has it, until the dream ends."""
        if self._address is None:
            return
        with suppress(httpx.HTTPError):
            async with (
                httpx.AsyncClient(timeout=BEGINS_WITHIN, trust_env=False) as client,
                client.stream("GET", f"{self._address}stream") as answer,
            ):
                async for part in answer.aiter_raw():
                    yield part

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(ValueError):
                told = json.loads(line)
                if told.get("event") == "progress" and process is self._process:
                    self._told.append((time.monotonic(), int(told["done"])))
                elif told.get("event") == "notice" and "http://127" in told["line"]:
                    place = "http://127" + told["line"].partition("http://127")[2]
                    self._address = place.partition(";")[0]

    def _hear_errors(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("dreamreel: ") and process is self._process:
                self.error = line.removeprefix("dreamreel: ").strip()
