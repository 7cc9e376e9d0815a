"""The context object that a handler gets as its second argument, with Lambda's fields and methods."""

import logging
import os
import sys
import time


# What is the same for every event of an instance, read once: it shows in the time of a warm call.
_fixed = {}


def _read_fixed():
    environ = os.environ
    _fixed["log_group_name"] = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
    _fixed["log_stream_name"] = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
    _fixed["function_name"] = environ.get("AWS_LAMBDA_FUNCTION_NAME")
    _fixed["memory_limit_in_mb"] = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    _fixed["function_version"] = environ.get("AWS_LAMBDA_FUNCTION_VERSION")


class LambdaContext:
    """What Lambda calls the context; the names are Lambda's."""

    def __init__(self, request_id, client_context, deadline_ms, invoked_function_arn, tenant_id=None):
        if not _fixed:
            _read_fixed()
        self.aws_request_id = request_id
        self.__dict__.update(_fixed)
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self.client_context = _filled(ClientContext, client_context)
        if self.client_context is not None:
            self.client_context.client = _filled(Client, self.client_context.client)
        self.identity = _filled(CognitoIdentity, {})
        self._epoch_deadline_time_in_ms = deadline_ms

    def get_remaining_time_in_millis(self):
        remaining = self._epoch_deadline_time_in_ms - int(time.time() * 1000)
        return remaining if remaining > 0 else 0

    def log(self, msg):
        for handler in logging.getLogger().handlers:
            if hasattr(handler, "log_sink"):
                handler.log_sink.log(str(msg))
                return
        sys.stdout.write(str(msg))

    def __repr__(self):
        names = (
            "aws_request_id",
            "log_group_name",
            "log_stream_name",
            "function_name",
            "memory_limit_in_mb",
            "function_version",
            "invoked_function_arn",
            "client_context",
            "identity",
            "tenant_id",
        )
        return _described(self, names)


class _Fields:
    __slots__ = ()

    def __repr__(self):
        return _described(self, self.__slots__)


class CognitoIdentity(_Fields):
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]


class Client(_Fields):
    __slots__ = [
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    ]


class ClientContext(_Fields):
    __slots__ = ["custom", "env", "client"]


def _described(value, names):
    fields = ",".join("{}={}".format(name, getattr(value, name)) for name in names)
    return "{}([{}])".format(type(value).__name__, fields)


def _filled(kind, fields):
    if fields is None:
        return None
    value = kind()
    for name in kind.__slots__:
        setattr(value, name, fields.get(name))
    return value
