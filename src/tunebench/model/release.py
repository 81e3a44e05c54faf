"""Memory handed back between two stages, so that each needs, and reports, only its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

import torch


def trim_memory() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def release_memory() -> None:
    """Give back what the last model held, and count the peaks of memory anew from here."""
    trim_memory()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # another kernel
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # VmHWM begins again at the present size
