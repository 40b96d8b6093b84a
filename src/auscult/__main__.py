"""`python -m auscult`, which is what `torchrun -m auscult` starts."""

import sys

from auscult.cli import main

if __name__ == "__main__":
    sys.exit(main())
