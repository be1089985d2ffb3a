"""`python -m dockermgr`."""

import sys

from dockermgr.cli import main

sys.exit(main())
