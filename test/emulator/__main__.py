"""Entry point: `/usr/bin/python3 test/emulator`, from any directory.

Python puts this very directory first on its path, where the modules' plain
names could hide those of the standard library; the parent takes its place, so
that everything is imported as the package `emulator`.
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from emulator.app import main  # noqa: E402  (needs the path set above)

sys.exit(main())
