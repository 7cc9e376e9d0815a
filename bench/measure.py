"""What all questions share: load by wrk, CPU and memory from /proc, medians with their spread, the machine."""

import os
import pathlib
import platform
import re
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORK = ROOT / "bench" / ".work"
TICKS = os.sysconf("SC_CLK_TCK")

_UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}


def spread(values, digits=1):
    """The median of several rounds and their ends."""
    return {"median": round(statistics.median(values), digits), "min": round(min(values), digits),
            "max": round(max(values), digits), "rounds": [round(value, digits) for value in values]}


def percentile(values, share):
    """The value below which this share of the values lies, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(figure, unit=""):
    """`median (min-max) unit`"""
    return f"{figure['median']:g} ({figure['min']:g}-{figure['max']:g}){' ' + unit if unit else ''}"


def machine():
    """Where and what was measured."""
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    run = lambda *command: subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {
        "cpu": model[1] if model else platform.processor(), "cores": os.cpu_count(), "kernel": platform.release(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "commit": run("git", "rev-parse", "--short=12", "HEAD"),
        "uncommitted_changes": bool(run("git", "status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(), "node": run("node", "--version"),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def wrk(url, connections, seconds, headers, body):
    """POSTs over kept-alive connections: {p50_us, p99_us, calls_per_s, calls}. Fails on any answer but 2xx."""
    WORK.mkdir(exist_ok=True)
    script = WORK / "post.lua"
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{body}]==]"]
    lines += [f'wrk.headers["{name}"] = [==[{value}]==]' for name, value in headers.items()]
    script.write_text("\n".join(lines) + "\n")
    threads = min(connections, 2)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s",
               "-s", script, url]
    out = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    latency = {share: float(number) * _UNITS[unit]
               for share, number, unit in re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m)$", out, re.M)}
    calls = int(re.search(r"(\d+) requests in", out)[1])
    return {"p50_us": latency["50"], "p99_us": latency["99"],
            "calls_per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), "calls": calls}


def cpu_seconds(pids):
    """User and system time that these processes have used."""
    total = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_kib(pid):
    """{rss, pss, private} of one process."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    field = lambda name: int(re.search(rf"^{name}:\s+(\d+) kB", text, re.M)[1])
    return {"rss": field("Rss"), "pss": field("Pss"), "private": field("Private_Clean") + field("Private_Dirty")}


def wall_ms(command, cwd=None, env=None):
    """How long a program takes from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=cwd, env=env, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3
