"""``python -m vmoc`` is ``vmoc``."""

import sys

from vmoc.cli import main

if __name__ == "__main__":
    sys.exit(main())
