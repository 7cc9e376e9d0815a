"""Memory and disk of what does nothing: the server, a deployed function, an idle Python instance."""

import functions
import measure
from cold import Caller, Holder
from measure import ROOT, show, spread

QUESTION = "What does an idle server cost, a deployed idle function, an idle Python instance?"
ESTIMATE = "a comparable emulator claims some 10 MiB idle; a forked Python instance 1-4 MiB"
RSS_MIB_MAX, FUNCTION_KIB_MAX = 30, 10
FUNCTIONS, INSTANCES = 50, 20


def run(new_server, options):
    """Measures on servers of its own, and returns (figures, table lines, verdicts)."""
    rounds = []
    for _ in range(options.rounds):
        with new_server() as server:
            rounds.append(one_round(server))
    figures = {key: spread([one[key] for one in rounds], 2) for key in rounds[0]}
    lines = ["| what | KiB |", "|---|---|"] + [f"| {name} | {show(figure)} |" for name, figure in figures.items()]
    rss = figures["idle server, RSS"]["median"] / 1024
    disk = figures["a deployed idle function, disk beside its package"]["median"]
    return figures, lines, [
        (f"idle server: {rss:.1f} MiB RSS, target <= {RSS_MIB_MAX} MiB", rss <= RSS_MIB_MAX),
        (f"deployed idle function: {disk:.1f} KiB on disk beside its package, target <= {FUNCTION_KIB_MAX} KiB",
         disk <= FUNCTION_KIB_MAX),
    ]


def one_round(server):
    client, caller = server.client(check=False), Caller(server)
    idle = measure.memory_kib(server.process.pid)
    package = functions.zipped({"hello.py": (ROOT / "bench" / "functions" / "hello.py").read_text()})
    disk_before = disk_kib(server.data_dir)
    made = [functions.create(client, package, handler="hello.cold", Timeout=300) for _ in range(FUNCTIONS)]
    disk = (disk_kib(server.data_dir) - disk_before) / FUNCTIONS - len(package) / 1024
    with_functions = measure.memory_kib(server.process.pid)
    caller.call(made[0])
    first = tree_pss(server)
    holder = Holder(server, client, made[0])
    try:
        for _ in range(INSTANCES):
            holder.take_idle_instance()
            caller.call(made[0])
        many = tree_pss(server)
    finally:
        holder.release()
    return {
        "idle server, RSS": idle["rss"], "idle server, PSS": idle["pss"],
        f"server with {FUNCTIONS} functions, RSS": with_functions["rss"],
        "a deployed idle function, disk beside its package": disk,
        "first Python instance with its zygote, PSS": first,
        "each further Python instance, PSS": (many - first) / INSTANCES,
        "server after the calls, RSS": measure.memory_kib(server.process.pid)["rss"],
    }


def tree_pss(server):
    """PSS of all that the server has started, itself left out."""
    return sum(measure.memory_kib(pid)["pss"] for pid in server.descendants())


def disk_kib(folder):
    return sum(path.lstat().st_blocks for path in folder.rglob("*")) / 2
