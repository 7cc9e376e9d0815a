"""Dask distributed or Ray, as `composition` asks for them: two workers on this machine, calls one after the other.

Reads lines `one COUNT` or `two COUNT`, writes the seconds of each call as a JSON array.
"""

import json
import os
import sys
import time


def increment(x):
    return x + 1


def square(x):
    return x * x


def dask():
    from distributed import Client, LocalCluster

    client = Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None))
    one = lambda x: client.submit(increment, x, pure=False).result()
    two = lambda x: client.submit(square, client.submit(increment, x, pure=False), pure=False).result()
    return {"one": one, "two": two}, client.shutdown


def ray():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray as library

    library.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    inc, sq = library.remote(increment), library.remote(square)
    one = lambda x: library.get(inc.remote(x))
    two = lambda x: library.get(sq.remote(inc.remote(x)))
    return {"one": one, "two": two}, library.shutdown


def main():
    # What libraries print must not get between our lines.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    calls, end = {"dask": dask, "ray": ray}[sys.argv[1]]()
    print("ready", file=out, flush=True)
    expected = {"one": lambda x: x + 1, "two": lambda x: (x + 1) ** 2}
    for line in sys.stdin:
        which, count = line.split()
        times = []
        for x in range(int(count)):
            start = time.perf_counter()
            got = calls[which](x)
            times.append(time.perf_counter() - start)
            assert got == expected[which](x)
        print(json.dumps(times), file=out, flush=True)
    end()


if __name__ == "__main__":
    main()
