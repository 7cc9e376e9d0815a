"""Forks instances of one revision on request. Run by the supervisor as a script.

It speaks JSON messages over a SEQPACKET socket:
supervisor -> zygote   {"handler", "task_root"} first; then {"fork": n} with [instance socket, log pipe]
zygote -> supervisor   {"ready": true} or {"unfit": reason} first; then
                       {"forked": n, "pid"} with [pidfd], {"failed": n, "reason"}, {"exited": pid, "status"}
It has one thread and stays so. Every instance is a subreaper, so what an instance has started stays below it, and
becomes the zygote's when the instance ends: whatever child is no instance is killed then. When the supervisor lets go, it ends, and its forks with it.
"""

import ctypes
import gc
import json
import os
import random
import select
import signal
import socket
import sys

import squall_frames
import squall_preload
import squall_serve

_HERE = os.path.dirname(os.path.abspath(__file__))
_MESSAGE_BYTES_MAX = 65536
_OUTPUT_BYTES_MAX = 65536
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STRAY_ROUNDS_MAX = 1000


class Zygote:
    def __init__(self, control):
        self.control = control
        self.prctl = ctypes.CDLL(None, use_errno=True).prctl
        self.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self.children = {}
        self.epoll = select.epoll()
        self.epoll.register(control.fileno(), select.EPOLLIN)
        self.output = os.memfd_create("output")

    def prepare(self):
        """Imports what instances share. Returns why it cannot be used, or None."""
        start = json.loads(self.control.recv(_MESSAGE_BYTES_MAX))
        squall_serve.set_up_path(start["task_root"])
        os.dup2(self.output, 1)
        os.dup2(self.output, 2)
        touched = squall_preload.preload(start["task_root"], start["handler"])
        sys.stdout.flush()
        sys.stderr.flush()
        if touched is not None:
            return "a package imports the function's own module `{}`".format(touched)
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            return "it has {} threads after its imports".format(threads)
        gc.collect()
        gc.freeze()
        return None

    def run(self):
        """Serves requests. Returns only in a fork, with its socket."""
        while True:
            for descriptor, _ in self.epoll.poll():
                if descriptor in self.children:
                    self.reap(descriptor)
                    continue
                message, descriptors, _, _ = socket.recv_fds(self.control, _MESSAGE_BYTES_MAX, 2)
                if not message:
                    os._exit(0)
                instance = self.fork(json.loads(message)["fork"], *descriptors)
                if instance is not None:
                    return instance

    def fork(self, number, instance, log):
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self.say({"failed": number, "reason": str(error)})
            os.close(instance)
            os.close(log)
            return None
        if pid == 0:
            return self.become_instance(zygote, instance, log)
        os.close(instance)
        os.close(log)
        pidfd = os.pidfd_open(pid)
        self.children[pidfd] = pid
        self.epoll.register(pidfd, select.EPOLLIN)
        self.say({"forked": number, "pid": pid}, [pidfd])
        return None

    def become_instance(self, zygote, instance, log):
        self.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        self.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        if os.getppid() != zygote:
            os._exit(0)
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        # What the packages said while they were imported belongs to every instance's log.
        said = os.pread(self.output, _OUTPUT_BYTES_MAX, 0)
        self.epoll.close()
        self.control.detach()
        os.dup2(instance, 3, inheritable=False)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        _reseed()
        if said:
            os.write(1, said)
        return socket.socket(fileno=3)

    def reap(self, pidfd):
        pid = self.children.pop(pidfd)
        self.epoll.unregister(pidfd)
        os.close(pidfd)
        # Those of its group at once, while its number is still taken: a fork bomb would leave this process no processor
        # to find them one by one.
        _signal_group(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self.end_strays()
        self.say({"exited": pid, "status": status})

    def end_strays(self):
        """Kills what ended instances have left, with all below it: stopped first, so that nothing is made meanwhile."""
        for _ in range(_STRAY_ROUNDS_MAX):
            strays = set(_children(os.getpid())).difference(self.children.values())
            if not strays:
                return
            stopped = set()
            while found := _below(strays) - stopped:
                _signal(found, signal.SIGSTOP)
                stopped |= found
            _signal(stopped, signal.SIGKILL)
            for pid in strays:
                os.waitpid(pid, 0)
        # They multiply faster than they can be ended: the end of all ends them too.
        os._exit(1)

    def say(self, message, descriptors=()):
        data = json.dumps(message).encode()
        try:
            socket.send_fds(self.control, [data], list(descriptors))
        except OSError:
            os._exit(0)


def _children(pid):
    try:
        with open("/proc/{0}/task/{0}/children".format(pid)) as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _below(pids):
    """These processes and all that descend from them."""
    found, queue = set(), list(pids)
    while queue:
        pid = queue.pop()
        if pid not in found:
            found.add(pid)
            queue.extend(_children(pid))
    return found


def _signal(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def _signal_group(group, number):
    try:
        os.killpg(group, number)
    except OSError:
        pass


def _reseed():
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None


def main():
    descriptor = int(os.environ["SQUALL_SOCKET_FD"])
    os.set_inheritable(descriptor, False)
    zygote = Zygote(socket.socket(fileno=descriptor))
    reason = zygote.prepare()
    if reason is not None:
        zygote.say({"unfit": reason})
        return
    zygote.say({"ready": True})
    squall_serve.serve(squall_frames.Channel(zygote.run()))


if __name__ == "__main__":
    main()
