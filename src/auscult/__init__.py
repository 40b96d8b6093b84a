"""auscult: train, check, compare and ship speech models, and report only what is so."""

__version__ = "0.1.0"
