"""Progress on standard error: a bar on a terminal, a line now and then elsewhere, nothing beside JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reelmill.cli.output import shown

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LINE_EVERY_PCT = 10.0


class Progress:
    """How far one thing is. Use it as a context manager; call `show` as often as you like."""

    def __init__(self, label: str, *, as_json: bool = False) -> None:
        """as_json: the output is for machines; then only a terminal sees anything."""
        self._label = shown(label)
        self._on_terminal = sys.stderr.isatty()
        self._silent = as_json and not self._on_terminal
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._told: tuple[float, str] = (-LINE_EVERY_PCT, "")

    def __enter__(self) -> Progress:
        if self._on_terminal:
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[message]}", markup=False, style="dim"),
                console=Console(stderr=True),
            )
            self._task = self._bars.add_task(self._label, total=100.0, message="")
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, pct: float, message: str = "", detail: str = "") -> None:
        """pct: 0–100. detail: what changes all the time, a speed for example; only a bar shows it."""
        message = shown(message)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=pct, message=f"{message}  {shown(detail)}".rstrip())
            return
        last_pct, last_message = self._told
        ended = pct >= 100 > last_pct
        if self._silent or not (ended or message != last_message or pct - last_pct >= LINE_EVERY_PCT):
            return
        self._told = (pct, message)
        print(f"{self._label}  {int(pct):3} %  {message}".rstrip(), file=sys.stderr, flush=True)
