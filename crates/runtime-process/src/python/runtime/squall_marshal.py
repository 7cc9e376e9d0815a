"""A handler's answer as JSON, the way that Lambda's own Python runtime writes it.

Decimals become numbers with every digit kept; the standard library has no way to say so,
so they travel through the encoder as strings that no answer contains and are unquoted after it.
"""

import decimal
import json
import os
import sys


class Encoder(json.JSONEncoder):
    def __init__(self):
        # Lambda escapes what is not ASCII up to Python 3.11, and not from 3.12 on.
        super().__init__(ensure_ascii=sys.version_info < (3, 12), allow_nan=True)
        self._decimals = []
        self._mark = None

    def default(self, o):
        if not isinstance(o, decimal.Decimal):
            return super().default(o)
        if o.is_nan():
            return float("nan")
        if self._mark is None:
            self._mark = "squall-decimal-" + os.urandom(16).hex()
        self._decimals.append(str(o))
        return "{}-{}-".format(self._mark, len(self._decimals) - 1)

    def to_json(self, answer):
        self._decimals.clear()
        text = self.encode(answer)
        for number, digits in enumerate(self._decimals):
            text = text.replace('"{}-{}-"'.format(self._mark, number), digits, 1)
        return text.encode("utf-8")
