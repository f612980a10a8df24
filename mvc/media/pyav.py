"""PyAV, where it is installed."""

from __future__ import annotations

from typing import Any

from mvc.errors import BackendError


def need_av() -> Any:
    """The package `av`; `BackendError` where it is not installed."""
    try:
        import av
    except ImportError as error:
        hint = "`pip install 'mvc-codec[video]'` brings it; without it, .y4m and pictures are read and written"
        raise BackendError("video files take PyAV, which is not installed", hint=hint) from error
    return av


def av_reason(error: BaseException) -> str:
    """Why FFmpeg refused, in lower case and without its numbers."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0].lower()
