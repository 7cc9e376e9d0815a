"""Runs a handler: loads it, gives it events, answers. The main loop of every managed Python instance.

Started by `squall_main` in a process of its own, or by `squall_zygote` in a fork.
Errors, log lines and their wording follow Lambda's own Python runtime.
"""

import importlib
import json
import logging
import os
import resource
import sys
import time
import traceback

import squall_frames as frames
import squall_host
from squall_context import LambdaContext
from squall_marshal import Encoder

_HERE = os.path.dirname(os.path.abspath(__file__))
_RESPONSE_BYTES_MAX = 6291556
_request_id = ""
# As `json.loads`, without its search for an encoding and for space around what the supervisor writes without any: it
# shows in the time of a warm call.
_scan = json.JSONDecoder().scan_once


class Refused(Exception):
    """An error that Lambda gives a name of its own."""

    def __init__(self, error_type, message, trace=None):
        super().__init__(message)
        self.error_type, self.message, self.trace = error_type, message, trace


class LineFlushed:
    """Hands every write on at once, so that what was printed is in the log whatever happens next."""

    def __init__(self, stream):
        self.stream = stream
        self.flush = stream.flush

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __iter__(self):
        return iter(self.stream)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def write(self, text):
        written = self.stream.write(text)
        self.stream.flush()
        return written

    def writelines(self, lines):
        self.stream.writelines(lines)
        self.stream.flush()


class Sink:
    def log(self, message, frame_type=None):
        sys.stdout.write(message)


class LogHandler(logging.Handler):
    def __init__(self, sink):
        super().__init__()
        self.log_sink = sink

    def emit(self, record):
        self.log_sink.log(self.format(record))


class RequestIdFilter(logging.Filter):
    def filter(self, record):
        record.aws_request_id = _request_id
        return True


def serve(channel):
    """Takes INIT, then events until the supervisor lets go. Never returns."""
    kind, header, _ = channel.receive()
    if kind != frames.INIT:
        raise SystemExit("squall: expected the frame INIT, got {}".format(kind))
    init = json.loads(header)
    _take_environment(init["environment"], init["task_root"])
    _set_up_output()
    try:
        handler = _load(init["handler"])
    except Refused as refused:
        _refuse_init(channel, _error(refused.message, refused.error_type, refused.trace, ""))
    except Exception:
        _refuse_init(channel, _raised(""))
    channel.send(frames.READY, _used())
    squall_host.attach(channel)
    _answer_events(channel, handler, init.get("response_bytes_max", _RESPONSE_BYTES_MAX))


def _answer_events(channel, handler, response_bytes_max):
    global _request_id
    encoder = Encoder()
    while True:
        kind, header, body = channel.receive()
        if kind != frames.INVOKE:
            raise SystemExit("squall: expected the frame INVOKE, got {}".format(kind))
        invoke, _ = _scan(header.decode(), 0)
        _request_id = invoke["id"]
        _set_trace(invoke.get("trace"))
        result, encoding, error = _run(handler, invoke, body, encoder)
        if error is None and len(result) > response_bytes_max:
            error = {
                "errorMessage": "Response payload size exceeded maximum allowed payload size "
                "({} bytes).".format(response_bytes_max),
                "errorType": "Function.ResponseSizeTooLarge",
            }
        elif error is not None:
            _log_error(error)
        _flush()
        if error is None:
            channel.answer(frames.RESPONSE, _used(encoding), result)
        else:
            channel.answer(frames.ERROR, _used(), _bounded(error, response_bytes_max))


def _run(handler, invoke, body, encoder):
    try:
        context = LambdaContext(
            invoke["id"],
            invoke.get("client_context"),
            invoke["deadline_ms"],
            invoke["arn"],
        )
        answer = handler(_event(body, invoke.get("encoding")), context)
        if isinstance(answer, squall_host.Payload):
            return answer.data, answer.encoding, None
        return _marshal(answer, encoder), None, None
    except Refused as refused:
        return None, None, _error(refused.message, refused.error_type, refused.trace, invoke["id"])
    except Exception:
        return None, None, _raised(invoke["id"])


def _event(body, encoding):
    if encoding is not None:
        return squall_host.Payload(body, encoding)
    try:
        return json.loads(body)
    except Exception as error:
        raise Refused("Runtime.UnmarshalError", "Unable to unmarshal input: {}".format(error)) from None


def _marshal(answer, encoder):
    if isinstance(answer, bytes):
        return answer
    try:
        return encoder.to_json(answer)
    except Exception as error:
        raise Refused("Runtime.MarshalError", "Unable to marshal response: {}".format(error)) from None


def _load(handler):
    try:
        module_name, function_name = handler.rsplit(".", 1)
    except ValueError as error:
        raise Refused("Runtime.MalformedHandlerName", "Bad handler '{}': {}".format(handler, error)) from None
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Refused(
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module {} as a handler module".format(module_name),
        )
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        message = "Unable to import module '{}': {}".format(module_name, error)
        raise Refused("Runtime.ImportModuleError", message) from None
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        message = "Syntax error in module '{}': {}".format(module_name, error)
        raise Refused("Runtime.UserCodeSyntaxError", message, trace) from None
    try:
        return getattr(module, function_name)
    except AttributeError:
        message = "Handler '{}' missing on module '{}'".format(function_name, module_name)
        raise Refused("Runtime.HandlerNotFound", message) from None


def _refuse_init(channel, error):
    _log_error(error)
    _flush()
    channel.send(frames.INIT_ERROR, _used(), json.dumps(error).encode())
    sys.exit(1)


def _error(message, error_type, trace, request_id):
    return {
        "errorMessage": message or "",
        "errorType": error_type or "",
        "requestId": request_id or "",
        "stackTrace": trace or [],
    }


def _raised(request_id):
    kind, value, trace = sys.exc_info()
    stack = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(trace)]
    while stack and os.path.dirname(stack[0][0]) == _HERE:
        del stack[0]
    try:
        message = str(value)
    except Exception:
        message = "<unprintable {}>".format(kind.__name__)
    error = _error(message, kind.__name__, traceback.format_list(stack), request_id)
    # Of functions that share this process, the one that raised it. What the exception's class says is not asked.
    function = object.__getattribute__(value, "__dict__").get("__squall_function__")
    return error if function is None else dict(error, function=function)


def _bounded(error, bytes_max):
    body = json.dumps(error).encode()
    if len(body) <= bytes_max:
        return body
    cut = dict(error, errorMessage=error["errorMessage"][:1024], stackTrace=[])
    return json.dumps(cut).encode()


def _log_error(error):
    lines = ["[ERROR] {}: {}".format(error["errorType"], error["errorMessage"])]
    if "stackTrace" in error:
        lines.append("Traceback (most recent call last):")
        for entry in error["stackTrace"]:
            lines.extend(entry.splitlines() or [""])
    sys.stdout.write("\n".join(lines) + "\n")


def _take_environment(environment, task_root):
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    set_up_path(task_root)
    os.chdir(task_root)


def set_up_path(task_root):
    """The function's code, its layers, then what the interpreter brings."""
    opt = "/opt/python"
    layers = "{}/lib/python{}.{}/site-packages".format(opt, *sys.version_info[:2])
    # The package `squall` comes last: a function may bring another version of it.
    library = os.path.join(_HERE, "library")
    own = [path for path in sys.path if path not in (_HERE, library, task_root, layers, opt, "")]
    sys.path[:] = [task_root, layers, opt] + own + [library]


def _set_up_output():
    sys.stdout = LineFlushed(sys.stdout)
    sys.stderr = LineFlushed(sys.stderr)
    logging.Formatter.converter = time.gmtime
    handler = LogHandler(Sink())
    handler.setFormatter(
        logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n",
            "%Y-%m-%dT%H:%M:%S",
        )
    )
    handler.addFilter(RequestIdFilter())
    logging.getLogger().addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    if level in logging._nameToLevel:
        logging.getLogger().setLevel(level)


def _set_trace(trace):
    if trace is not None:
        os.environ["_X_AMZN_TRACE_ID"] = trace
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            # The handler replaced or closed it; what it meant to write there is its own affair.
            pass


def _used(encoding=None):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if encoding is None:
        return b'{"memory":%d}' % memory
    return b'{"memory":%d,"encoding":"%s"}' % (memory, encoding.encode())
