"""Checks raw answers of EventBridge and its Scheduler against the service models that ship with botocore."""

import functools
import gzip
import json
import pathlib
import re

import botocore

VERSIONS = {"events": "2015-10-07", "scheduler": "2021-06-30"}
# Sent by the services, not in their models.
UNMODELLED = {
    "ValidationException": 400, "SerializationException": 400, "ThrottlingException": 400,
    "NotImplementedException": 501, "UnknownOperationException": 400,
}
KINDS = {"structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "timestamp": (int, float)}
MEDIA = {"events": "application/x-amz-json-1.1", "scheduler": "application/json"}


def checked(server, service):
    """A boto3 client that fails a call whose raw answer is not what botocore's model promises."""
    client = server.client(service)

    def check(operation_model, response_dict, **_):
        problems = list(problems_of(service, operation_model.name, response_dict))
        assert not problems, f"{operation_model.name}: {problems}\n{response_dict}"

    client.meta.events.register(f"before-parse.{service}", check)
    return client


@functools.cache
def model(service):
    folder = pathlib.Path(botocore.__file__).parent / "data" / service / VERSIONS[service]
    return json.loads(gzip.decompress((folder / "service-2.json.gz").read_bytes()))


def problems_of(service, operation, response):
    headers = {name.lower(): value for name, value in response["headers"].items()}
    if headers.get("content-type") != MEDIA[service] or not headers.get("x-amzn-requestid"):
        yield f"headers {headers}"
    content = json.loads(response["body"] or b"{}")
    description = model(service)["operations"][operation]
    if response["status_code"] >= 300:
        yield from problems_of_error(service, description, response["status_code"], headers, content)
        return
    output = description.get("output")
    yield from problems_of_value(service, output["shape"], content, operation) if output else ([content] if content else [])


def problems_of_error(service, description, status, headers, content):
    name = headers.get("x-amzn-errortype") if service == "scheduler" else content.get("__type")
    text = content.get("Message" if service == "scheduler" else "message")
    errors = {error["shape"]: model(service)["shapes"][error["shape"]] for error in description["errors"]}
    if name not in errors and name not in UNMODELLED or not text:
        yield f"the error {name} {content} is not one of {sorted(errors)}"
        return
    modelled = errors.get(name, {}).get("error", {}).get("httpStatusCode", 400)
    expected = modelled if name in errors else UNMODELLED[name]
    if status != expected:
        yield f"{name} with status {status} instead of {expected}"


def problems_of_value(service, name, value, path):
    shapes = model(service)["shapes"]
    shape = shapes[name]
    if value is None:
        return
    if not isinstance(value, KINDS.get(shape["type"], int)):
        yield f"{path} is {value!r}, not {shape['type']}"
    elif shape["type"] == "structure":
        for member in shape.get("required", []):
            if member not in value:
                yield f"{path}.{member} is required and missing"
        for member, item in value.items():
            if member not in shape["members"]:
                yield f"{path}.{member} is unknown to {name}"
            else:
                yield from problems_of_value(service, shape["members"][member]["shape"], item, f"{path}.{member}")
    elif shape["type"] == "list":
        for index, item in enumerate(value):
            yield from problems_of_value(service, shape["member"]["shape"], item, f"{path}[{index}]")
    elif shape["type"] == "map":
        for key, item in value.items():
            yield from problems_of_value(service, shape["value"]["shape"], item, f"{path}.{key}")
    elif shape["type"] == "string":
        if "enum" in shape and value not in shape["enum"]:
            yield f"{path} is `{value}`, not in {name}"
        if "pattern" in shape and "\\p" not in shape["pattern"] and not re.match(shape["pattern"], value):
            yield f"{path} is `{value}`, against {shape['pattern']}"
