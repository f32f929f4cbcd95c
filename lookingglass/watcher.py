"""End what a server that was killed has left behind: the program of the watcher process, see ``roll``.

It imports next to nothing, for its memory counts. Standard input is a socket that ends with the server, and
on which the server names pipes that somebody holds although their Run has ended; standard output is the roll.
"""

import os
import select
import sys
import time

GRACE = 1.0  # seconds from SIGTERM to SIGKILL
SETTLE = 0.25  # seconds in which what was killed closes its files
# An entry: process group (0: it is being started), the moment in clock ticks since boot, inode of the pipe;
# 8 bytes each.
ENTRY_FIELDS = 3
ENTRY_BYTES = 8 * ENTRY_FIELDS

TICKS = os.sysconf("SC_CLK_TCK")  # a second
STARTED = 19  # field of /proc/PID/stat, counted from the state
STOP, KILL = 15, 9  # SIGTERM, SIGKILL: the module signal needs a megabyte


def now() -> int:
    """Return the clock ticks since boot, which /proc counts as well."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * TICKS // 10**9


def watch(server: int) -> None:
    """Wait until the server has ended or closed its socket; meanwhile end who holds the pipes it names."""
    session: int | None = None
    server_end = -1
    poll = select.poll()
    poll.register(0, select.POLLIN)
    try:
        session = os.getsid(server)
        server_end = os.pidfd_open(server)  # a copy of the socket in a forked process is not the server
        poll.register(server_end, select.POLLIN)
    except (OSError, AttributeError):  # it has ended, and so does the socket; or this Python lacks the call
        pass
    if os.getppid() == server:
        while all(each != server_end for each, _ in poll.poll()) and (data := os.read(0, 4096)):
            time.sleep(SETTLE)
            end_holders({*memoryview(data).cast("Q")}, server, session)
    end_all(server, session)


def end_all(server: int, session: int | None) -> None:
    """End what stands on the roll, as the server would have done."""
    table = memoryview(os.pread(1, os.fstat(1).st_size, 0)).cast("Q").tolist()
    entries = [table[at : at + ENTRY_FIELDS] for at in range(0, len(table), ENTRY_FIELDS)]
    groups = [(group, ticks) for group, ticks, _ in entries if group]
    for group, ticks in groups:
        signal_group(group, ticks, STOP)
    end = time.monotonic() + GRACE
    while any(signal_group(group, ticks, 0) for group, ticks in groups) and time.monotonic() < end:
        time.sleep(GRACE / 50)
    for group, ticks in groups:
        signal_group(group, ticks, KILL)
    if any(inode and not group for group, _, inode in entries):
        time.sleep(SETTLE)  # in which what was just forked leaves the server's session
    end_holders({inode for _, _, inode in entries if inode}, server, session)


def signal_group(group: int, ticks: int, number: int) -> bool:
    """Signal a process group, and tell whether there is one.

    Its number belongs to a stranger only when all of it has gone, and so only when there is a process with
    this number that was started after the moment of the entry.
    """
    try:
        with open(f"/proc/{group}/stat", "rb") as file:
            if int(file.read().rpartition(b")")[2].split()[STARTED]) > ticks:
                return False
    except OSError:
        pass
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True


def end_holders(inodes: set[int], server: int, session: int | None) -> None:
    """Kill whoever may write to some pipes, but nobody in the server's session; nobody if it is not known.

    The pipe of a Run has no other writers than the Run's own descendants: those that left its process group.
    The session 0 is one that began outside this PID namespace, as in a container.
    """
    if not inodes or session is None:
        return
    pipes = {f"pipe:[{inode}]" for inode in inodes}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != server and holds(name, pipes, session):
            kill_holder(name, pipes, session)


def kill_holder(name: str, pipes: set[str], session: int) -> None:
    """Kill one, by a descriptor: its number may be a stranger's by now."""
    import signal

    process = -1
    try:
        if not hasattr(os, "pidfd_open"):  # some builds of Python have left it out
            os.kill(int(name), KILL)
            return
        process = os.pidfd_open(int(name))
        if holds(name, pipes, session):
            signal.pidfd_send_signal(process, signal.SIGKILL)
    except OSError:  # it has gone, or became another user
        pass
    finally:
        if process >= 0:
            os.close(process)


def holds(name: str, pipes: set[str], session: int) -> bool:
    """Tell whether a process in another session may write to one of some pipes."""
    folder = f"/proc/{name}"
    try:
        for each in os.listdir(f"{folder}/fd"):
            if os.readlink(f"{folder}/fd/{each}") in pipes and os.getsid(int(name)) != session:
                with open(f"{folder}/fdinfo/{each}", "rb") as file:
                    if int(file.read().partition(b"flags:")[2].split()[0], 8) & os.O_ACCMODE != os.O_RDONLY:
                        return True
    except OSError:  # it has gone, or is another user's
        pass
    return False


if __name__ == "__main__":
    watch(int(sys.argv[1]))
