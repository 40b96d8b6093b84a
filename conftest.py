"""Which modules doctest must not import: those that wrap a package which is not installed. Everything else has to import."""

from __future__ import annotations

from importlib.util import find_spec

WRAPPED = {"triton": "selective_scan_triton.py", "mamba_ssm": "selective_scan_mamba_ssm.py"}

collect_ignore = [f"src/auscult/ops/{module}" for package, module in WRAPPED.items() if find_spec(package) is None]
