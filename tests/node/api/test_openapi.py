"""The description is valid, and says of each operation what the table says."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import jsonschema
import pytest
from api import test_golden as golden
from openapi_spec_validator import OpenAPIV31SpecValidator
from qluster.api import openapi
from qluster.api.access import Rights
from qluster.api.errors import ERRORS
from qluster.api.operation import Operation
from qluster.api.operations import OPERATIONS

DESCRIPTION = json.loads(openapi.document())


def validated(schema: dict[str, object], document: object) -> None:
    whole = {**schema, "components": DESCRIPTION["components"]}
    jsonschema.Draft202012Validator(whole).validate(document)


def test_description_is_valid_openapi_3_1() -> None:
    errors = list(OpenAPIV31SpecValidator(DESCRIPTION).iter_errors())
    assert errors == []


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if not each.alias], ids=lambda each: each.name)
def test_operation_is_described_as_in_the_table(operation: Operation) -> None:
    entry = DESCRIPTION["paths"][operation.path][operation.method.lower()]
    assert {each["name"] for each in entry["parameters"]} == {each.name for each in operation.parameters}
    codes = {str(ERRORS[word].code) for word in operation.errors}
    assert set(entry["responses"]) == {"200", "405", *codes}
    assert bool(entry["security"]) == (operation.needs > Rights.NONE)
    assert ("requestBody" in entry) == bool(operation.body)


@pytest.mark.parametrize("name", golden.ROUTES)
def test_golden_answer_fits_its_schema(name: str) -> None:
    operation = next(each for each in OPERATIONS if each.name == name)
    responses = DESCRIPTION["paths"][operation.path][operation.method.lower()]["responses"]
    answer = json.loads((golden.GOLDEN / f"{name}.json").read_text())
    validated(responses["200"]["content"]["application/json"]["schema"], answer)


@pytest.mark.parametrize("word", ERRORS)
def test_golden_error_fits_its_schema(word: str) -> None:
    answer = json.loads((golden.GOLDEN / f"error_{word}.json").read_text())
    validated({"$ref": "#/components/schemas/ErrorAnswer"}, answer)


def test_codes_of_the_published_interface_are_described() -> None:
    paths = DESCRIPTION["paths"]
    write = {"200", "410", "412", "417", "420", "500", "530", "531"}
    for method, path in [
        ("post", "/config"),
        ("post", "/leader"),
        ("post", "/node"),
        ("patch", "/node/{node}"),
        ("delete", "/node/{node}"),
        ("post", "/node-down/{node}"),
    ]:
        assert write <= set(paths[path][method]["responses"]), path
    for path in ("/map", "/info", "/config", "/db-config"):
        assert {"200", "412", "500", "531"} <= set(paths[path]["get"]["responses"]), path
    assert {"200", "412", "417", "500", "530", "531"} <= set(paths["/is-leader"]["get"]["responses"])
    assert {"200", "412", "500", "530", "531"} <= set(paths["/leader"]["get"]["responses"])
