"""The unmodified `aws` command, for services beside Lambda."""

import json
import pathlib
import sys

AWS = pathlib.Path(sys.executable).with_name("aws")


def aws(server, *args, check=True, **kwargs):
    """Runs `aws …` with nothing but the environment of `squall env`; what it printed, as JSON where there is any."""
    result = server.run(sys.executable, AWS, *args, "--output", "json", check=check, **kwargs)
    if not check:
        return result
    return json.loads(result.stdout) if result.stdout.strip() else None
