"""How tests start the mock provider."""

import sys

COMMAND = [sys.executable, "-c", "from spendgate.cli.main import main; main()", "mock-provider"]
