"""The command line: one thin function per verb, each in a module that is imported only when its verb is used."""

from auscult.cli.app import main

__all__ = ["main"]
