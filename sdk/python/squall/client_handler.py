"""The handler of a function that a client registered. It is put into the function's package, beside the pickle."""

import squall
import squall_arguments as arguments

_function = arguments.load("function.pickle")


def handler(event, context):
    if type(event) is not squall.Payload:
        # Lambda's Invoke: the event is the one argument.
        return _function(event)
    return arguments.answer(_function(*arguments.resolve(arguments.read(event.data))))
