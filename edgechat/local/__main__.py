"""`python -m edgechat.local run [--reload] [--demo]`, `audit REQUIREMENTS`, `older [COMMIT]`, or one of `_STEPS`."""

import argparse
import sys

from edgechat.local.audit import audit
from edgechat.local.browser import install_browser
from edgechat.local.caddy import install_caddy
from edgechat.local.kotlin import install_kotlin
from edgechat.local.lint_openapi import lint_openapi
from edgechat.local.node_tools import install_node_tools
from edgechat.local.older import install_older
from edgechat.local.pooler import install_pooler
from edgechat.local.process import LocalError
from edgechat.local.prometheus import install_prometheus
from edgechat.local.run import run
from edgechat.local.sbom import write_sbom
from edgechat.local.vendor import vendor

_STEPS = {
    "vendor": (vendor, "copy the playground's libraries from their npm packages"),
    "browser": (install_browser, "install what the playground's tests need: a headless Chromium, and axe"),
    "pooler": (install_pooler, "unpack PgBouncer, which the tests of a transaction pooler need"),
    "prometheus": (install_prometheus, "unpack Prometheus, which the tests of the alerts and the metrics need"),
    "caddy": (install_caddy, "unpack Caddy, which the tests of TLS need"),
    "kotlin": (install_kotlin, "unpack Kotlin's compiler and OkHttp, which the test of the client guide needs"),
    "sbom": (write_sbom, "write the packages of production and their licences to sbom.cdx.json (CycloneDX)"),
    "node": (install_node_tools, "install the npm packages that check the OpenAPI file and generate clients"),
    "lint-openapi": (lint_openapi, "check the OpenAPI file with public tools"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgechat.local", description="EdgeChat on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="start the embedded servers and serve the API until Ctrl-C")
    run_parser.add_argument("--reload", action="store_true", help="start the workers again when a source file changes")
    run_parser.add_argument("--demo", action="store_true", help="add demo data first")
    audit_parser = commands.add_parser("audit", help="look the pinned packages up in the advisory service")
    audit_parser.add_argument("requirements", help="a file with exact versions")
    older_parser = commands.add_parser("older", help="install an earlier version, which tests run beside this one")
    older_parser.add_argument("commit", nargs="?", help="by default the last release")
    for name, (_, help_text) in _STEPS.items():
        commands.add_parser(name, help=help_text)
    arguments = parser.parse_args()
    if arguments.command == "audit":
        return audit(arguments.requirements)
    if arguments.command == "older" or arguments.command in _STEPS:
        try:
            return install_older(arguments.commit) if arguments.command == "older" else _STEPS[arguments.command][0]()
        except LocalError as error:
            print(error, file=sys.stderr)
            return 1
    return run(reload=arguments.reload, demo=arguments.demo)


if __name__ == "__main__":
    sys.exit(main())
