"""Defences, one per file; every module is imported when the registry looks for defences."""
