"""Checks raw answers against the service model that ships with botocore.

boto3 drops what it does not know and forgives what is missing, so a test through boto3 alone would not see it.
`check_response` hangs on the `before-parse` event of every client that the tests make.
"""

import functools
import gzip
import json
import pathlib
import re

import botocore

# Sent by Lambda, not in its model.
UNMODELLED = {
    "AccessDeniedException": 403,
    "IncompleteSignatureException": 400,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "NotImplementedException": 501,
    "RequestEntityTooLargeException": 413,
    "SerializationException": 400,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
# Errors whose text is in `message`; every other modelled one has `Message`.
LOWER_CASE_MESSAGE = {
    "CapacityProviderLimitExceededException", "CodeStorageExceededException",
    "FunctionVersionsPerCapacityProviderLimitExceededException", "InvalidParameterValueException",
    "InvalidRequestContentException", "PolicyLengthExceededException", "PreconditionFailedException",
    "ProvisionedConcurrencyConfigNotFoundException", "RequestTooLargeException", "ResourceConflictException",
    "ResourceNotReadyException", "SerializedRequestEntityTooLargeException", "TooManyRequestsException",
    "UnsupportedMediaTypeException",
}
# The model says 502; Lambda answers these to an upload with 400.
OTHER_STATUS = {"InvalidZipFileException": {400, 502}, "InvalidRuntimeException": {400, 502}}
# Recorded on the real service: 204, where the model says 200.
OTHER_SUCCESS = {"DeleteFunction": {200, 204}, "Invoke": {200, 202, 204}}
# Recorded on the real service, and not in the model: (shape, value).
OTHER_VALUES = {("Runtime", "wasm"), ("LastUpdateStatusReasonCode", "Creating"), ("CodeSigningConfigArn", "")}
REQUEST_ID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


@functools.cache
def model():
    """Lambda's service model, as a dict."""
    folder = pathlib.Path(botocore.__file__).parent / "data" / "lambda" / "2015-03-31"
    return json.loads(gzip.decompress((folder / "service-2.json.gz").read_bytes()))


def check_response(operation_model, response_dict, **_):
    """The hook: fails the call when the raw answer is not what the model promises."""
    problems = list(problems_of(operation_model.name, response_dict))
    assert not problems, f"{operation_model.name} answered against its model: {problems}\n{response_dict}"


def problems_of(operation, response):
    """What is wrong with an answer; `response` has `status_code`, `headers` and `body`."""
    headers = {name.lower(): value for name, value in response["headers"].items()}
    if not REQUEST_ID.match(headers.get("x-amzn-requestid", "")):
        yield f"x-amzn-RequestId is `{headers.get('x-amzn-requestid')}`"
    if response["status_code"] >= 300:
        yield from _problems_of_error(operation, response["status_code"], headers, response["body"])
    else:
        yield from _problems_of_success(operation, response["status_code"], headers, response["body"])


def _problems_of_error(operation, status, headers, body):
    name = headers.get("x-amzn-errortype", "").partition(":")[0]
    shape = model()["shapes"].get(name, {})
    modelled = {error["shape"] for error in model()["operations"][operation]["errors"]}
    if name in modelled:
        allowed = OTHER_STATUS.get(name, {shape.get("error", {}).get("httpStatusCode")})
    elif name in UNMODELLED:
        allowed = {UNMODELLED[name]}
    else:
        yield f"the error `{name}` is not one of {operation}'s"
        return
    if status not in allowed:
        yield f"{name} with status {status} instead of {allowed}"
    content = _json_object(body)
    if content is None:
        yield f"the body of {name} is no JSON object: {body!r}"
        return
    if name in UNMODELLED:
        if not (content.get("message") or content.get("Message")):
            yield f"{name} has no message"
        return
    key = "message" if name in LOWER_CASE_MESSAGE else "Message"
    if not content.get(key):
        yield f"{name} has no `{key}`: {content}"
    if content.get("Type") not in ("User", "Server"):
        yield f"{name} has the Type {content.get('Type')!r}"
    yield from _problems_of_value(name, content, name)


def _problems_of_success(operation, status, headers, body):
    description = model()["operations"][operation]
    allowed = OTHER_SUCCESS.get(operation, {description["http"].get("responseCode", 200)})
    if status not in allowed:
        yield f"status {status} instead of {allowed}"
    output = description.get("output")
    if output is None:
        if isinstance(body, bytes) and body:
            yield f"a body where none is modelled: {body!r}"
        return
    shape = model()["shapes"][output["shape"]]
    if "payload" in shape:
        return
    if not body:
        if status != 204:
            yield "no body"
        return
    if not headers.get("content-type", "").startswith("application/json"):
        yield f"Content-Type is `{headers.get('content-type')}`"
    content = _json_object(body)
    if content is None:
        yield f"the body is no JSON object: {body!r}"
        return
    yield from _problems_of_value(output["shape"], content, operation)


def _problems_of_value(name, value, path):
    shape = model()["shapes"][name]
    check = _CHECKS[shape["type"]]
    yield from check(name, shape, value, path)


def _structure(name, shape, value, path):
    if not isinstance(value, dict):
        yield f"{path} is {type(value).__name__}, not an object"
        return
    in_body = {
        member.get("locationName", key): member["shape"]
        for key, member in shape["members"].items()
        if member.get("location") not in ("header", "headers", "statusCode", "uri", "querystring")
    }
    for key in shape.get("required", []):
        member = shape["members"][key]
        if member.get("locationName", key) in in_body and member.get("locationName", key) not in value:
            yield f"{path}.{key} is required and missing"
    for key, item in value.items():
        if key not in in_body:
            yield f"{path}.{key} is unknown to {name}"
        elif item is not None:
            yield from _problems_of_value(in_body[key], item, f"{path}.{key}")


def _list(_name, shape, value, path):
    if not isinstance(value, list):
        yield f"{path} is {type(value).__name__}, not a list"
        return
    yield from _length(shape, value, path)
    for index, item in enumerate(value):
        yield from _problems_of_value(shape["member"]["shape"], item, f"{path}[{index}]")


def _map(_name, shape, value, path):
    if not isinstance(value, dict):
        yield f"{path} is {type(value).__name__}, not a map"
        return
    for key, item in value.items():
        yield from _problems_of_value(shape["key"]["shape"], key, f"{path} key")
        yield from _problems_of_value(shape["value"]["shape"], item, f"{path}.{key}")


def _string(name, shape, value, path):
    if not isinstance(value, str):
        yield f"{path} is {value!r}, not a string"
        return
    if (name, value) in OTHER_VALUES:
        return
    if "enum" in shape and value not in shape["enum"]:
        yield f"{path} is `{value}`, not in {name}"
    yield from _length(shape, value, path)
    if "pattern" in shape and not re.fullmatch(shape["pattern"], value):
        yield f"{path} is `{value}`, against the pattern {shape['pattern']}"


def _number(_name, shape, value, path):
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole and not (shape["type"] in ("double", "float", "timestamp") and isinstance(value, float)):
        yield f"{path} is {value!r}, not {shape['type']}"
        return
    if "min" in shape and value < shape["min"] or "max" in shape and value > shape["max"]:
        yield f"{path} is {value}, not in {shape.get('min')}..{shape.get('max')}"


def _boolean(_name, _shape, value, path):
    if not isinstance(value, bool):
        yield f"{path} is {value!r}, not a boolean"


def _length(shape, value, path):
    if len(value) < shape.get("min", 0) or len(value) > shape.get("max", len(value)):
        yield f"{path} has the length {len(value)}, not {shape.get('min')}..{shape.get('max')}"


_CHECKS = {
    "structure": _structure, "list": _list, "map": _map, "string": _string, "blob": _string, "boolean": _boolean,
    "integer": _number, "long": _number, "double": _number, "float": _number, "timestamp": _number,
}


def _json_object(body):
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
