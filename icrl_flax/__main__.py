"""`python -m icrl_flax`."""

import sys

from icrl_flax.cli import main

sys.exit(main())
