"""`python -m edgechat.local run [--reload] [--demo]`, `audit REQUIREMENTS`, `vendor` or `browser`."""

import argparse
import sys

from edgechat.local.audit import audit
from edgechat.local.browser import install_browser
from edgechat.local.process import LocalError
from edgechat.local.run import run
from edgechat.local.vendor import vendor


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgechat.local", description="EdgeChat on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="start the embedded servers and serve the API until Ctrl-C")
    run_parser.add_argument("--reload", action="store_true", help="start the workers again when a source file changes")
    run_parser.add_argument("--demo", action="store_true", help="add demo data first")
    audit_parser = commands.add_parser("audit", help="look the pinned packages up in the advisory service")
    audit_parser.add_argument("requirements", help="a file with exact versions")
    commands.add_parser("vendor", help="copy the playground's libraries from their npm packages")
    commands.add_parser("browser", help="install what the playground's tests need: a headless Chromium, and axe")
    arguments = parser.parse_args()
    if arguments.command == "audit":
        return audit(arguments.requirements)
    if arguments.command in ("vendor", "browser"):
        try:
            return vendor() if arguments.command == "vendor" else install_browser()
        except LocalError as error:
            print(error, file=sys.stderr)
            return 1
    return run(reload=arguments.reload, demo=arguments.demo)


if __name__ == "__main__":
    sys.exit(main())
