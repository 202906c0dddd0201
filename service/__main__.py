"""`python -m service`: the same as the command `moondream2mqtt`."""

import sys

from service.cli import main

sys.exit(main())
