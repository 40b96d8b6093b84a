"""When a signal counts as silent: one number for losses and metrics, so that both leave out the same targets.

Problem: the level of an estimate relative to a target of zeros is undefined, and a small constant in the denominator turns it into +-100
dB that swamp every mean (csteinmetz1/auraloss#25). Choice: a floor on the mean power after the mean is taken out, -80 dB relative
to full scale: far below speech, above the rounding of 16 bits (-98 dB) and its dither. Rejected: exact zeros only (one bit of
noise and the value is back).
"""

from __future__ import annotations

SILENT_POWER = 1e-8
"""Mean square, full scale 1, below which a target is silent: -80 dB."""
