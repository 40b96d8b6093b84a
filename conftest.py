"""Which modules doctest must not import: those that wrap a package which is not installed. Everything else has to import."""

from __future__ import annotations

from importlib.util import find_spec

WRAPPED = {"selective_scan_triton.py": "triton", "ctc_triton.py": "triton", "selective_scan_mamba_ssm.py": "mamba_ssm"}

collect_ignore = [f"src/auscult/ops/{module}" for module, package in WRAPPED.items() if find_spec(package) is None]
