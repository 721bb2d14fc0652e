"""`python -m edgechat.local run [--reload]`, `… audit REQUIREMENTS` and `… vendor`."""

import argparse
import sys

from edgechat.local.audit import audit
from edgechat.local.process import LocalError
from edgechat.local.run import run
from edgechat.local.vendor import vendor


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgechat.local", description="EdgeChat on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="start the embedded servers and serve the API until Ctrl-C")
    run_parser.add_argument("--reload", action="store_true", help="start the workers again when a source file changes")
    audit_parser = commands.add_parser("audit", help="look the pinned packages up in the advisory service")
    audit_parser.add_argument("requirements", help="a file with exact versions")
    commands.add_parser("vendor", help="copy the playground's libraries from their npm packages")
    arguments = parser.parse_args()
    if arguments.command == "audit":
        return audit(arguments.requirements)
    if arguments.command == "vendor":
        try:
            return vendor()
        except LocalError as error:
            print(error, file=sys.stderr)
            return 1
    reload: bool = arguments.reload
    return run(reload=reload)


if __name__ == "__main__":
    sys.exit(main())
