"""`python -m reference_harness`."""

import sys

from reference_harness.faces.cli import main

if __name__ == "__main__":
    sys.exit(main())
