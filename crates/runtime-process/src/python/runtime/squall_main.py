"""Starts one instance in a process of its own. Run by the supervisor as a script."""

import os
import socket

import squall_frames
import squall_serve

if __name__ == "__main__":
    descriptor = int(os.environ["SQUALL_SOCKET_FD"])
    os.set_inheritable(descriptor, False)
    squall_serve.serve(squall_frames.Channel(socket.socket(fileno=descriptor)))
