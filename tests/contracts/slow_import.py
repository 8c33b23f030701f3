"""A module that takes as long to import as the heaviest library."""

import time

time.sleep(30)
