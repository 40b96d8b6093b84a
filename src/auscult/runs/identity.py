"""What determines a run's result, as hashes: recipe, data, code and environment.

Problem: a run asked for twice should be reused, and one resumed under other code should say so. Hashing only what the
user typed (as dora does) silently reuses an old run after a default has changed. Choice: the run is *named* by its
resolved recipe and its data; code and environment are recorded beside it, file by file and version by version, so a
difference can be told in words. Rejected: the version-control revision (says nothing about uncommitted edits, and an
installed package has none).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import auscult
from auscult.runs.json_values import to_json

PACKAGES = ("auscult", "torch", "numpy", "scipy", "lhotse", "soundfile", "soxr", "triton", "flashlight-text", "safetensors")
"""Packages whose version can change a result."""

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables that set thread counts, and with them the order of sums."""

_FILES_NAMED = 5


def canonical_hash(value: Any) -> str:
    """Return the SHA-256 of a JSON value, 64 hex characters; the order of keys does not matter, the order of lists does.

    >>> canonical_hash({"a": 1, "b": [2.5]}) == canonical_hash({"b": [2.5], "a": 1})
    True
    """
    return hashlib.sha256(to_json(value, sort_keys=True).encode("utf-8")).hexdigest()


def fingerprint(recipe_hash: str, data_hash: str) -> str:
    """Return the 12 hex characters that name a run, from the hash of its resolved recipe and of its data manifest."""
    return hashlib.sha256(f"{recipe_hash}\n{data_hash}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Identity:
    """What determined a run.

    Attributes:
        recipe: hash of the resolved recipe.
        data: hash of the data manifests.
        code: every Python file of the package to the hash of its content.
        environment: flat facts: interpreter, platform, processors, device, package versions, thread settings; None where absent.
    """

    recipe: str
    data: str
    code: Mapping[str, str]
    environment: Mapping[str, str | int | None]

    @classmethod
    def current(cls, recipe_hash: str, data_hash: str, device: str | None = None) -> Identity:
        """Return the identity a run started now would have; `device` names the accelerator, which cannot be found out without torch."""
        return cls(recipe_hash, data_hash, dict(_package_code()), {**_environment(), "device": device})

    @property
    def code_hash(self) -> str:
        """One hash over all files of the package."""
        return canonical_hash(dict(self.code))

    def changes_since(self, old: Identity) -> list[str]:
        """Return in plain words what is different from an older identity; empty when nothing is.

        >>> old = Identity("r", "d", {"training/stepper.py": "1"}, {"torch": "2.12"})
        >>> Identity("r", "e", {"training/stepper.py": "2"}, {"torch": "2.13"}).changes_since(old)
        ['data changed', 'code changed: training/stepper.py', 'torch 2.12 -> 2.13']
        """
        changes = [f"{part} changed" for part in ("recipe", "data") if getattr(self, part) != getattr(old, part)]
        files = _different(self.code, old.code)
        if files:
            more = f" and {len(files) - _FILES_NAMED} more" if len(files) > _FILES_NAMED else ""
            changes.append(f"code changed: {', '.join(files[:_FILES_NAMED])}{more}")
        for key in _different(self.environment, old.environment):
            changes.append(f"{key} {_shown(old.environment.get(key))} -> {_shown(self.environment.get(key))}")
        return changes

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the combined code hash among them."""
        return {**asdict(self), "code_hash": self.code_hash}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Identity:
        """Read back what `to_dict` wrote; further keys are ignored.

        Raises:
            KeyError: a field is missing.
        """
        return cls(values["recipe"], values["data"], values["code"], values["environment"])


def _different(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    keys = [*new, *(key for key in old if key not in new)]
    return [key for key in keys if new.get(key) != old.get(key)]


def _shown(value: str | int | None) -> str:
    return "none" if value is None else str(value)


@cache
def _package_code() -> dict[str, str]:
    """Hash the files once: what this process imported, or will, is what was there when it began."""
    folder = Path(auscult.__file__).parent
    files = sorted(folder.rglob("*.py"), key=lambda file: file.relative_to(folder).as_posix())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}


def _environment() -> dict[str, str | int | None]:
    import platform  # here, as it is asked once in a run and costs every command

    facts: dict[str, str | int | None] = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    facts.update({package: _version(package) for package in PACKAGES})
    facts.update({name: os.environ.get(name) for name in THREAD_SETTINGS})
    return facts


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # here, for the same reason

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the processor's name: another one may choose other instructions, and with them other last bits."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown"
