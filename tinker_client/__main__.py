"""`python -m tinker_client script.py args`: see `tinker_client.official.launcher`."""

import sys

from tinker_client.official.launcher import USAGE, interpreter_options, launch

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(USAGE, file=sys.stderr if len(sys.argv) < 2 else sys.stdout)
        sys.exit(2 if len(sys.argv) < 2 else 0)
    launch(sys.argv[1:], options=interpreter_options())
