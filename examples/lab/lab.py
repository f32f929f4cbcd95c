"""A small Internet in network namespaces: a looking glass, four routers, a few targets.

    sudo python3 examples/lab/lab.py run              start TinyTracer in it, and say where
    sudo python3 examples/lab/lab.py up | down        build it, take it down
    sudo python3 examples/lab/lab.py exec lg ping target.example

Everything happens inside namespaces of its own; nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STATE = "/run/tinytracer-lab-{prefix}"
PREFIX = re.compile(r"[a-z][a-z0-9-]{0,11}")  # also the beginning of an interface name: 15 characters at most
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
PROGRAMS = {"ip": "iproute2", "dnsmasq": "dnsmasq-base", "ping": "iputils-ping"}  # program: Debian package
PATIENCE = 20.0  # seconds until everything answers, or everything is gone
VISITORS = "10.213.0.0/30"  # between this machine and the looking glass, for a browser
JITTER = 0.1  # ms


class Link(NamedTuple):
    """A cable: its left end has the first address of each network, its right end the second one."""

    left: str
    left_interface: str
    right: str
    right_interface: str
    network4: str
    network6: str
    delay: float  # ms, one way


class Target(NamedTuple):
    """Something in the network behind the last router; ``number`` ends both its addresses."""

    name: str
    number: int
    families: str = "46"
    exists: bool = True


LINKS = (
    Link("lg", "eth0", "r1", "ge0-0", "198.51.100.0/30", "2001:db8:1::/64", 0.4),
    Link("r1", "ge0-1", "r2", "xe-0-1-0", "198.51.100.4/30", "2001:db8:2::/64", 1.0),
    Link("r2", "xe-0-1-1", "r3", "ae3", "198.51.100.8/30", "2001:db8:3::/64", 2.5),
    Link("r3", "ae4", "r4", "be10", "198.51.100.12/30", "2001:db8:4::/64", 4.0),
    Link("r4", "be20", "targets", "eth0", "203.0.113.0/24", "2001:db8:203::/64", 0.5),
)
CHAIN = tuple(link.left for link in LINKS) + (LINKS[-1].right,)
ROUTERS = CHAIN[1:-1]
WIRES = "wires"  # the namespace of the cables
NAMESERVER = "198.51.100.1"
DOMAINS = {
    "lg": "lg.example",
    "r1": "r1.lg.example",
    "r2": "r2.transit.example",
    "r3": "r3.transit.example",
    "r4": "r4.dc.example",
    "targets": "dc.example",
}
TARGETS = (
    Target("target", 10),
    Target("lossy", 20),
    Target("v4only", 30, "4"),
    Target("v6only", 40, "6"),
    Target("hostile", 50),
    Target("unreachable", 66, exists=False),
    Target("prohibited", 67, exists=False),
    Target("silent", 77, exists=False),
    Target("nobody", 99, exists=False),  # routed, but no such host on the last network
)
REFUSALS = {
    "unreachable": ("r4", "unreachable"),
    "prohibited": ("r4", "prohibit"),
    "silent": ("r3", "blackhole"),
}
HOSTILE_PTR = (
    "<script>alert(1)</script>.example"  # well-behaved resolvers do not show it; find out about others
)
LOSS_ON_THE_WAY = ("r3", 40)  # percent of this router's own "time exceeded" messages
LOSS_AT_THE_END = ("lossy", 30)  # percent of what is sent to this target

# Settings of each namespace; what a kernel does not have is left out.
SETTINGS = {
    "net/ipv4/ping_group_range": "0 2147483647",  # ping without privileges
    "net/ipv4/icmp_ratelimit": "0",  # or else several probes in a row lose answers by chance
    "net/ipv4/icmp_msgs_per_sec": "100000",
    "net/ipv4/icmp_msgs_burst": "10000",
    "net/ipv6/icmp/ratelimit": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",  # or else an address is unusable for its first seconds
    "net/ipv6/conf/default/accept_ra": "0",
}
FORWARDING = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}
SILENCE = {"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"}
# Ask for a neighbour three times within a second instead of three, so that "no such host" beats -w 1.
NEIGHBOUR_RETRY = 250  # ms


class LabError(Exception):
    """The lab cannot be built, or something in it does not answer."""


def end_addresses(link: Link, side: int) -> tuple[str, str]:
    """Return the IPv4 and IPv6 address of one end: side 0 is left, 1 is right."""
    first, second = (ipaddress.ip_network(network)[1 + side] for network in (link.network4, link.network6))
    return str(first), str(second)


def target_addresses(target: Target) -> list[str]:
    """Return the addresses of a target, IPv4 first; the number reads the same in both families."""
    prefixes = {"4": LINKS[-1].network4.removesuffix("0/24"), "6": LINKS[-1].network6.removesuffix("/64")}
    return [prefixes[family] + str(target.number) for family in target.families]


def ends(host: str) -> Iterator[tuple[Link, int, str]]:
    """Yield each link of a host, the side it is on, and the name of the interface."""
    for link in LINKS:
        for side, end, interface in (
            (0, link.left, link.left_interface),
            (1, link.right, link.right_interface),
        ):
            if end == host:
                yield link, side, interface


def wire(host: str, interface: str) -> str:
    """Return the name of the cable's plug for an interface of a host."""
    return f"{host}.{interface}"


def routes(host: str) -> Iterator[str]:
    """Yield the static routes: the left neighbour for what is left of it, the right one for the rest."""
    place = CHAIN.index(host)
    for family in (0, 1):
        for index, link in enumerate(LINKS):
            network = (link.network4, link.network6)[family]
            if index < place - 1:
                yield f"{network} via {end_addresses(LINKS[place - 1], 0)[family]}"
            elif index > place:
                yield f"{network} via {end_addresses(LINKS[place], 1)[family]}"
        if host == CHAIN[0]:
            yield f"default via {end_addresses(LINKS[0], 1)[family]}"
    for target in TARGETS:
        router, kind = REFUSALS.get(target.name, ("", ""))
        if router == host:
            yield from (f"{kind} {address}" for address in target_addresses(target))


def host_batch(host: str) -> str:
    """Return the ip commands that give a host its addresses and routes."""
    lines = ["link set lo up"]
    for link, side, interface in ends(host):
        for address, network in zip(end_addresses(link, side), (link.network4, link.network6), strict=True):
            lines.append(f"address add {address}/{network.partition('/')[2]} dev {interface}")
        lines.append(f"link set {interface} up")
        for table in ("arp_cache", "ndisc_cache"):
            lines.append(f"ntable change name {table} dev {interface} retrans {NEIGHBOUR_RETRY}")
    if host == CHAIN[-1]:
        for target in filter(lambda each: each.exists, TARGETS):
            lines += [f"address add {address} dev eth0" for address in target_addresses(target)]
    lines += [f"route add {route}" for route in routes(host)]
    return "\n".join(lines)


def wires_batch(namespace: Callable[[str], str]) -> str:
    """Return the ip commands that put a veth between each interface and the cables' namespace."""
    lines = []
    for host in CHAIN:
        for _, _, interface in ends(host):
            plug = wire(host, interface)
            lines.append(f"link add {plug} type veth peer name {interface} netns {namespace(host)}")
            lines.append(f"link set {plug} up")
    return "\n".join(lines)


def packed(address: str) -> str:
    """Return the bytes of an address in hexadecimal."""
    return ipaddress.ip_address(address).packed.hex()


def drops(link: Link, side: int) -> Iterator[dict[str, Any]]:
    """Yield the loss rules, as cable.py reads them, for what leaves one side of a link."""
    router, loss = LOSS_ON_THE_WAY
    if (link.right, side) == (router, 1):
        four, six = map(packed, end_addresses(link, 1))
        # IPv4, ICMP, source, "time exceeded" (RFC 792); IPv6, ICMPv6, source, the same (RFC 4443)
        yield {"loss": loss, "bytes": {12: "0800", 23: "01", 26: four, 34: "0b"}}
        yield {"loss": loss, "bytes": {12: "86dd", 20: "3a", 22: six, 54: "03"}}
    name, loss = LOSS_AT_THE_END
    if (link, side) == (LINKS[-1], 0):
        four, six = map(packed, next(target_addresses(each) for each in TARGETS if each.name == name))
        yield {"loss": loss, "bytes": {12: "0800", 30: four}}
        yield {"loss": loss, "bytes": {12: "86dd", 38: six}}


def cables() -> list[dict[str, Any]]:
    """Return what cable.py reads."""
    directions = []
    for link in LINKS:
        plugs = (wire(link.left, link.left_interface), wire(link.right, link.right_interface))
        for side in (0, 1):
            rules = list(drops(link, side))
            ways = {"from": plugs[side], "to": plugs[1 - side]}
            directions.append({**ways, "delay": link.delay, "jitter": JITTER, "drops": rules})
    return directions


def dns_lines() -> Iterator[str]:
    """Yield dnsmasq's configuration: every name and address, and nothing from elsewhere."""
    yield from ("no-resolv", "no-hosts", "bind-interfaces", "pid-file=", "user=root", "local=/#/")
    yield from (f"listen-address={NAMESERVER}", f"server=/timeout.example/{target_addresses(TARGETS[-2])[0]}")
    for host in CHAIN:
        for link, side, interface in ends(host):
            four, six = end_addresses(link, side)
            yield f"host-record={interface}.{DOMAINS[host]},{four},{six}"
    for target in TARGETS:
        if target.name == "hostile":
            for address in target_addresses(target):
                yield f"ptr-record={ipaddress.ip_address(address).reverse_pointer},{HOSTILE_PTR}"
        else:
            yield f"host-record={target.name}.example,{','.join(target_addresses(target))}"


def run(argv: Sequence[str], text: str | None = None) -> str:
    """Run a program to its end and return its output; raise LabError with its complaint if it fails."""
    done = subprocess.run(argv, input=text, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let Ctrl-C wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Lab:
    """A lab; as a context manager it is up inside and gone outside.

    ``prefix`` begins the names of its namespaces, so that several labs can be up at once.
    """

    def __init__(self, prefix: str = "tt-") -> None:
        if not PREFIX.fullmatch(prefix):
            raise LabError(
                f"A prefix is 1 to 12 characters of a-z, 0-9 and '-', beginning with a letter: {prefix!r}"
            )
        self.prefix = prefix
        self.state = Path(STATE.format(prefix=prefix))
        self._ready = self.state / "ready"
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.down()

    def namespace(self, host: str) -> str:
        """Return the name of a host's network namespace."""
        return self.prefix + host

    def enter(self, host: str) -> list[str]:
        """Return what to put before a command line to run it in a host's namespace, with the lab's DNS."""
        return ["ip", "netns", "exec", self.namespace(host)]

    def exec(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in a host's namespace and return its outcome; ``options`` are subprocess.run's."""
        defaults = {"env": ENVIRONMENT, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        return subprocess.run([*self.enter(host), *argv], check=False, **{**defaults, **options})

    def start(self, host: str, argv: Sequence[str], log: str) -> None:
        """Start a daemon in a host's namespace; it may not survive the namespace."""
        with (self.state / log).open("ab") as out:
            argv = [*self.enter(host), *argv]
            null = subprocess.DEVNULL
            daemon = subprocess.Popen(
                argv, env=ENVIRONMENT, stdin=null, stdout=out, stderr=out, start_new_session=True
            )
        self._started.append(daemon)

    def is_up(self) -> bool:
        """Say whether the lab was built and its cables and its name server are alive."""
        return self._ready.exists() and all(map(self._pids, (WIRES, CHAIN[0])))

    def up(self) -> None:
        """Build the lab unless it is up; return when it answers, or leave nothing and raise LabError."""
        for program, package in PROGRAMS.items():
            if not shutil.which(program, path=ENVIRONMENT["PATH"]):
                raise LabError(f"There is no {program}. On Debian: apt-get install {package}")
        if os.geteuid():
            raise LabError("Network namespaces need root: try sudo.")
        if self.is_up():
            return
        self.down()
        try:
            self._build()
            self._wait()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Take down whatever there is of the lab, also after a crash: processes, namespaces, files."""
        with undisturbed():
            for host in (*CHAIN, WIRES):
                self._kill(host)
                if Path("/run/netns", self.namespace(host)).exists():
                    run(["ip", "netns", "delete", self.namespace(host)])
                shutil.rmtree(Path("/etc/netns", self.namespace(host)), ignore_errors=True)
            with contextlib.suppress(OSError):  # not there, or somebody else's names are in it
                Path("/etc/netns").rmdir()
            while self._started:
                self._started.pop().wait()
            shutil.rmtree(self.state, ignore_errors=True)

    def _pids(self, host: str) -> list[int]:
        """Return the processes in a host's namespace: all of them belong to the lab."""
        with contextlib.suppress(LabError):  # no such namespace, or a name without one
            return [int(pid) for pid in run(["ip", "netns", "pids", self.namespace(host)]).split()]
        return []

    def _kill(self, host: str) -> None:
        """Kill what runs in a host's namespace and wait until it is gone."""
        end = time.monotonic() + PATIENCE
        while pids := self._pids(host):
            if time.monotonic() > end:
                raise LabError(f"In {self.namespace(host)} these do not die: {pids}")
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _build(self) -> None:
        """Make the namespaces, the cables, the addresses, the routes and the name server."""
        self.state.mkdir(mode=0o755)
        for host in (*CHAIN, WIRES):
            run(["ip", "netns", "add", self.namespace(host)])
            extra = FORWARDING if host in ROUTERS else SILENCE if host == WIRES else {}
            self._set(host, {**SETTINGS, **extra})
        run(["ip", "-n", self.namespace(WIRES), "-batch", "-"], wires_batch(self.namespace))
        for host in CHAIN:
            run(["ip", "-n", self.namespace(host), "-batch", "-"], host_batch(host))
            names = Path("/etc/netns", self.namespace(host), "resolv.conf")
            names.parent.mkdir(parents=True)
            names.write_text(f"nameserver {NAMESERVER}\n", encoding="ascii")
        (self.state / "cables.json").write_text(json.dumps(cables()), encoding="ascii")
        # -S: the standard library is enough, and no site package (a coverage measurement) slows it down.
        python = [sys.executable, "-I", "-S"]
        self.start(WIRES, [*python, str(HERE / "cable.py"), str(self.state / "cables.json")], "cable.log")
        (self.state / "dnsmasq.conf").write_text("\n".join(dns_lines()) + "\n", encoding="ascii")
        conf = f"--conf-file={self.state / 'dnsmasq.conf'}"
        self.start(CHAIN[0], ["dnsmasq", "--keep-in-foreground", conf], "dnsmasq.log")

    def _set(self, host: str, settings: dict[str, str]) -> None:
        lines = "".join(f"/proc/sys/{key} {value}\n" for key, value in settings.items())
        script = 'while read -r file value; do [ ! -w "$file" ] || echo "$value" > "$file" || exit; done'
        run([*self.enter(host), "sh", "-c", script], lines)

    def _wait(self) -> None:
        """Wait until the far end answers by name in both families: that needs all there is."""
        end = time.monotonic() + PATIENCE
        for family in ("-4", "-6"):
            probe = ["ping", family, "-c", "1", "-W", "1", f"{TARGETS[0].name}.example"]
            while self.exec(CHAIN[0], probe).returncode:
                if time.monotonic() > end:
                    logs = "".join(log.read_text(encoding="utf-8") for log in self.state.glob("*.log"))
                    raise LabError(f"{' '.join(probe)} has no answer after {PATIENCE} seconds. {logs}")
                time.sleep(0.05)
        self._ready.touch()


def open_window(lab: Lab, network: str) -> str:
    """Connect this machine to the looking glass and return the latter's address."""
    visitors = ipaddress.IPv4Network(network)
    for route in json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"])):
        used = route["dst"]
        if used != "default" and visitors.overlaps(ipaddress.IPv4Network(used, strict=False)):
            raise LabError(
                f"{network} overlaps {used}, which this machine knows: choose another with --visitors."
            )
    here, there = str(visitors[1]), str(visitors[2])
    name, glass = lab.namespace("web"), lab.namespace("lg")
    run(["ip", "link", "add", name, "type", "veth", "peer", "name", "web0", "netns", glass])
    run(["ip", "address", "add", f"{here}/{visitors.prefixlen}", "dev", name])
    run(["ip", "link", "set", name, "up"])
    run(["ip", "-n", glass, "address", "add", f"{there}/{visitors.prefixlen}", "dev", "web0"])
    run(["ip", "-n", glass, "link", "set", "web0", "up"])
    return there


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the end, and pass the end on."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def carry(client: socket.socket, address: tuple[str, int]) -> None:
    """Carry one connection to ``address``."""
    with client, contextlib.suppress(OSError), socket.create_connection(address) as server:
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        back.join()


def carry_all(listener: socket.socket, address: tuple[str, int]) -> None:
    """Carry every connection to ``address``, until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=carry, args=(client, address), daemon=True).start()


def glass_argv(lab: Lab, config: str, address: str, port: int) -> list[str]:
    """Return the command line of TinyTracer in the lab, as the user who called sudo."""
    argv = lab.enter("lg")
    if user := os.environ.get("SUDO_UID"):
        group = os.environ.get("SUDO_GID", user)
        argv += ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    program = [sys.executable, str(ROOT / "tinytracer.py"), "serve"]
    return [*argv, *program, "--config", config, "--listen", f"{address}:{port}"]


def serve(lab: Lab, config: str, visitors: str, port: int) -> int:
    """Run TinyTracer in the lab until it ends or Ctrl-C; return its exit status."""
    address = open_window(lab, visitors)
    glass = subprocess.Popen(glass_argv(lab, config, address, port), stdin=subprocess.DEVNULL)
    try:
        urls = [f"http://{address}:{port}/"]
        with contextlib.ExitStack() as stack:
            try:
                listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
                threading.Thread(target=carry_all, args=(listener, (address, port)), daemon=True).start()
                urls.append(f"http://127.0.0.1:{port}/")
            except OSError as error:
                print(f"127.0.0.1:{port}: {error.strerror}", file=sys.stderr)
            print(f"TinyTracer in the lab: {' or '.join(urls)} - Ctrl-C ends it.", flush=True)
            return glass.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with undisturbed():
            glass.terminate()
            glass.wait()
            run(["ip", "link", "delete", lab.namespace("web")])


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A small Internet in network namespaces. Needs root.")
    parser.add_argument("--prefix", default="tt-", help="begins the names of the namespaces (default: tt-)")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("up", help="build it, unless it is up")
    actions.add_parser("down", help="take it down, also what a crash left")
    command = actions.add_parser("exec", help="run a command in a host's namespace")
    command.add_argument("host", choices=CHAIN)
    command.add_argument("command", nargs=argparse.REMAINDER)
    glass = actions.add_parser("run", help="run TinyTracer in it; if it was not up, it is down afterwards")
    glass.add_argument("--config", default=str(HERE / "config.json"), metavar="FILE")
    glass.add_argument("--visitors", default=VISITORS, metavar="NETWORK", help=f"default: {VISITORS}")
    glass.add_argument("--port", type=int, default=8080)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        lab = Lab(options.prefix)
        if options.action == "exec":
            os.execvp("ip", [*lab.enter(options.host), *options.command])
        if options.action == "up":
            lab.up()
            print(f"The lab is up. Try: {sys.argv[0]} exec lg traceroute target.example")
        elif options.action == "down":
            lab.down()
        elif lab.is_up():
            return serve(lab, options.config, options.visitors, options.port)
        else:
            with lab:
                return serve(lab, options.config, options.visitors, options.port)
    except (LabError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
