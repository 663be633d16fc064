import sys

from scripts.network.cli import main

sys.exit(main())
