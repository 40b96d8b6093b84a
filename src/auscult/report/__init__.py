"""Figures and single-file pages, all from run directories; nothing here needs torch, a model or the data.

Every number comes from the store: a report cannot say what no run has measured, and says "not run" instead.
"""

from auscult.report.draw import draw_check, draw_training
from auscult.report.html import write_report

__all__ = ["draw_check", "draw_training", "write_report"]
