"""The process in which espeak-ng runs: one JSON request on standard input, PCM on standard output, then it ends.

Why a process of its own: the C library keeps everything in globals (one voice, one set of parameters, one random state, wave
phases that run on from utterance to utterance), leaks a little, and can take the interpreter with it when it crashes. A fresh
process gives every speaker the same starting state, which is what makes the bytes reproducible. Rejected: terminating and
initialising the library again, which does not reset its function-level statics.

This file is run by path with `python -I -S` and imports the standard library only: it starts in about 20 ms.

Output: sample rate and version length as two little-endian int32, the version, then for each text an int32 byte count and
int16 samples.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from typing import Any, BinaryIO

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns after the last callback
DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: a missing voice folder is a return value, not exit()
UTF8 = 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4  # espeak_PARAMETER

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Engine:
    """One initialised library with one voice."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.library = ctypes.CDLL(request["library"])
        self.library.espeak_Info.restype = ctypes.c_char_p
        self.library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self.sample_rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, request["voices"].encode(), DONT_EXIT)
        if self.sample_rate <= 0:
            raise SystemExit(f"espeak-ng cannot use the voice folder {request['voices']}")
        self.version: bytes = self.library.espeak_Info(None)
        self._chunks: list[bytes] = []
        self._callback = Callback(self._receive)
        self.library.espeak_SetSynthCallback(self._callback)
        if self.library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            raise SystemExit(f'espeak-ng has no voice "{request["voice"]}"')
        for parameter, key in ((RATE, "rate"), (VOLUME, "volume"), (PITCH, "pitch"), (RANGE, "range")):
            self.library.espeak_SetParameter(parameter, request[key], 0)
        self.library.espeak_ng_SetRandSeed(request["seed"])  # breath and whisper noise; seeded from the clock otherwise

    def _receive(self, samples: Any, count: int, _events: int | None) -> int:
        if count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def speak(self, text: str) -> bytes:
        """Return the int16 samples of one text."""
        self._chunks.clear()
        data = text.encode() + b"\0"
        status = self.library.espeak_Synth(data, len(data), 0, 0, 0, UTF8, None, None)
        if status != 0:
            raise SystemExit(f"espeak-ng failed with status {status} on: {text}")
        self.library.espeak_Synchronize()
        return b"".join(self._chunks)


def main(request: dict[str, Any], output: BinaryIO) -> None:
    """Answer one request."""
    engine = Engine(request)
    output.write(struct.pack("<ii", engine.sample_rate, len(engine.version)) + engine.version)
    for text in request["texts"]:
        samples = engine.speak(text)
        output.write(struct.pack("<i", len(samples)) + samples)


if __name__ == "__main__":
    main(json.loads(sys.stdin.buffer.read()), sys.stdout.buffer)
