import sys

from scripts.storm.cli import main

sys.exit(main())
