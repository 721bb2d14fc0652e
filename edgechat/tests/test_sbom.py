"""The list of the packages of production, which `make sbom` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cyclonedx.schema._res
import jsonschema_rs
from packaging.utils import canonicalize_name

from edgechat.local.sbom import make_sbom
from edgechat.tests.test_packaging import pinned

PROJECT = Path(__file__).parents[2]
FOLDER = Path(cyclonedx.schema._res.__file__).parent


def validator() -> Any:
    """Of CycloneDX's own schema, with those that it refers to."""
    bom, *others = (f"{name}.SNAPSHOT.schema.json" for name in ("bom-1.6", "spdx", "jsf-0.82", "cryptography-defs"))
    schemas = [(f"http://cyclonedx.org/schema/{name}", json.loads((FOLDER / name).read_text())) for name in others]
    return jsonschema_rs.Draft7Validator(
        json.loads((FOLDER / bom).read_text()), registry=jsonschema_rs.Registry(schemas)
    )


def test_each_package_of_production_is_listed_with_its_version_and_its_licence() -> None:
    sbom = make_sbom()
    check = validator()
    check.validate(sbom)
    assert not check.is_valid({**sbom, "components": [{"name": "without a type"}]})
    listed = {canonicalize_name(each["name"]): each for each in sbom["components"]}
    here = {name: each for name, each in pinned().items() if not each.marker or each.marker.evaluate()}
    assert {name: f"=={each['version']}" for name, each in listed.items()} == {
        name: str(each.specifier) for name, each in here.items()
    }
    assert [name for name, each in listed.items() if not each["licenses"]] == []
    # EdgeChat needs each of them, itself or through another one.
    needs = {each["ref"]: each["dependsOn"] for each in sbom["dependencies"]}
    reached, waiting = set[str](), list(needs["edgechat"])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += needs[name]
    assert reached == {each["bom-ref"] for each in sbom["components"]}


def test_the_image_s_list_is_made_by_the_same_program() -> None:
    versions = [
        re.findall(r"cyclonedx-bom==(\S+)", (PROJECT / file).read_text())
        for file in ("requirements-dev.txt", "Dockerfile")
    ]
    assert versions[0] == versions[1] != []
