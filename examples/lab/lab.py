"""A small Internet in network namespaces: a looking glass, four routers, a few targets.

    sudo python3 examples/lab/lab.py run              start TinyTracer in it, and say where
    sudo python3 examples/lab/lab.py up | down        build it, take it down
    sudo python3 examples/lab/lab.py up --bgp         with BIRD and FRR on the routers
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
ENVIRONMENT = {
    # FRR's folder first, for OpenBGPD has a bgpd as well.
    "PATH": "/usr/lib/frr:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}
PROGRAMS = {"ip": "iproute2", "dnsmasq": "dnsmasq-base", "ping": "iputils-ping"}  # program: Debian package
BGP_PROGRAMS = {"bird": "bird2", "bgpd": "frr"}
PATIENCE = 30.0  # seconds until everything answers, or everything is gone
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
CHAIN = (*(link.left for link in LINKS), LINKS[-1].right)
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
    "silent": ("r4", "blackhole"),
}
ELSEWHERE = {"private.example": "10.0.0.1"}  # names for what a deny table holds
MIXED = ("203.0.113.10", "10.0.0.1")  # the addresses of mixed.example: one of a target, one denied
HOSTILE_PTR = "<script>alert(1)</script>.example"  # a good resolver withholds it; find out about others
LOSS_ON_THE_WAY = ("r3", 40)  # percent of this router's own "time exceeded" messages
LOSS_AT_THE_END = ("lossy", 30)  # percent of what is sent to this target

# With --bgp: the daemons, each with the socket that it makes when it is ready, and how to ask them. The
# configuration is the file named after the router.
BIRD = ("bird", "-f", "-c", "{conf}", "-s", "{state}/bird.ctl")
FRR = ("-u", "root", "-g", "frrvty", "-z", "{state}/zserv.api", "--vty_socket", "{state}", "-P", "0")
ZEBRA = ("zebra", *FRR, "-f", "/dev/null", "-i", "{state}/zebra.pid")
BGPD = ("bgpd", *FRR, "-f", "{conf}", "-i", "{state}/bgpd.pid")
ROUTING: dict[str, dict[str, tuple[str, ...]]] = {
    "r1": {"bird.ctl": BIRD},
    "r2": {"bird.ctl": BIRD},
    "r3": {"zserv.api": ZEBRA, "bgpd.vty": BGPD},
    "r4": {"zserv.api": ZEBRA, "bgpd.vty": BGPD},
}
BIRDC = ("birdc", "-r", "-s", "{state}/bird.ctl", "{question}")
VTYSH = ("vtysh", "-u", "--vty_socket", "{state}", "--config_dir", "{state}", "-c", "{question}")
QUESTIONS = {"r1": BIRDC, "r2": BIRDC, "r3": VTYSH, "r4": VTYSH}
# The command set and the AS of each router.
DAEMONS = {"r1": ("bird", 64500), "r2": ("bird", 64501), "r3": ("frr", 64510), "r4": ("frr", 64511)}
SETS = ROOT / "examples" / "routers"
# What the published command sets begin with, and what finds the daemon here.
PLACED = {
    ("birdc", "-r"): BIRDC[:-1],
    ("birdlg",): (str(SETS / "birdlg"), "-s", "{state}/bird.ctl"),
    ("vtysh", "-u"): VTYSH[:-2],
}
CONVERGED = (  # what the ends of the chain answer when every session has brought what it brings
    ("r1", "show route 203.0.113.128/25", "backup_v4"),
    ("r1", "show route 2001:db8:8000::/33", "backup_v6"),
    ("r4", "show bgp ipv4 unicast", "64510 64501 64500"),
    ("r4", "show bgp ipv6 unicast", "64510 64501 64500"),
)

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


def routes(host: str, bgp: bool) -> Iterator[str]:
    """Yield the static routes; with ``bgp`` the way to the targets comes from the neighbour instead."""
    place = CHAIN.index(host)
    to_left = end_addresses(LINKS[place - 1], 0) if place else ()
    to_right = end_addresses(LINKS[place], 1) if place < len(LINKS) else ()
    if host not in ROUTERS:
        yield from (f"default via {gateway}" for gateway in to_left or to_right)
    for index, link in enumerate(LINKS) if host in ROUTERS else ():
        if index in (place - 1, place) or (bgp and link == LINKS[-1]):
            continue
        gateways = to_left if index < place else to_right
        networks = (link.network4, link.network6)
        yield from (f"{network} via {via}" for network, via in zip(networks, gateways, strict=True))
    for target in TARGETS:
        if REFUSALS.get(target.name, ("", ""))[0] == host:
            kind = REFUSALS[target.name][1]
            yield from (f"{kind} {address}" for address in target_addresses(target))


def host_batch(host: str, bgp: bool) -> str:
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
    lines += [f"route add {route}" for route in routes(host, bgp)]
    return "\n".join(lines)


def wires_batch(namespace: Callable[[str], str]) -> str:
    """Return the ip commands that put a veth between each interface and the cables' namespace."""
    lines = []
    for host in CHAIN:
        for _, _, interface in ends(host):
            plug = f"{host}.{interface}"
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
        plugs = (f"{link.left}.{link.left_interface}", f"{link.right}.{link.right_interface}")
        for side in (0, 1):
            rules = list(drops(link, side))
            ways = {"from": plugs[side], "to": plugs[1 - side]}
            directions.append({**ways, "delay": link.delay, "jitter": JITTER, "drops": rules})
    return directions


def dns_lines() -> Iterator[str]:
    """Yield dnsmasq's configuration: every name and address, and nothing from elsewhere."""
    yield from ("no-resolv", "no-hosts", "bind-interfaces", "pid-file=", "user=root", "local=/#/")
    silent = next(target_addresses(target)[0] for target in TARGETS if target.name == "silent")
    yield from (f"listen-address={NAMESERVER}", f"server=/timeout.example/{silent}")
    yield from (f"host-record={name},{address}" for name, address in ELSEWHERE.items())
    yield from (f"address=/mixed.example/{address}" for address in MIXED)
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

    ``prefix`` begins the names of its namespaces, so that several labs can be up at once. With ``bgp`` BIRD
    and FRR run on the routers; ``ask_daemon`` says how to ask them.
    """

    def __init__(self, prefix: str = "tt-", bgp: bool = False) -> None:
        if not PREFIX.fullmatch(prefix):
            raise LabError("A prefix is a letter and at most 11 more of a-z, 0-9 and '-'.")
        self.prefix = prefix
        self.bgp = bgp
        self.window = prefix + "web"  # the one interface outside the namespaces, while ``run`` runs
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

    def ask_daemon(self, host: str, question: str) -> list[str]:
        """Return the command line that asks a router's BGP daemon, read-only; it works in any namespace."""
        return [word.format(state=self.state / host, question=question) for word in QUESTIONS[host]]

    def router(self, host: str) -> dict[str, Any]:
        """Return a router with a routing daemon as TinyTracer's configuration has it."""
        daemon, asn = DAEMONS[host]
        source4, source6 = end_addresses(LINKS[CHAIN.index(host) - 1], 1)
        details = {"name": f"{host}.lg.example", "autonomous_system": asn, "vendor": daemon}
        commands = self.command_set(host, daemon)
        return {**details, "source4": source4, "source6": source6, "commands": commands}

    def command_set(self, host: str, daemon: str) -> dict[str, Any]:
        """Return the published commands of a routing daemon, pointed at its socket and its namespace."""
        commands: dict[str, Any] = json.loads((SETS / f"{daemon}.json").read_text(encoding="utf-8"))
        commands.pop("$comment")
        for command in commands.values():
            for templates in (command, *command.get("formats", {}).values()):
                argvs = {key: argv for key, argv in templates.items() if isinstance(argv, list)}
                templates.update({key: self._placed(host, argv) for key, argv in argvs.items()})
        return commands

    def _placed(self, host: str, argv: list[str]) -> list[str]:
        for beginning, instead in PLACED.items():
            if tuple(argv[: len(beginning)]) == beginning:
                words = [word.format(state=self.state / host) for word in instead]
                return [*words, *argv[len(beginning) :]]
        return [*self.enter(host), *argv]

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
        for program, package in {**PROGRAMS, **(BGP_PROGRAMS if self.bgp else {})}.items():
            if not shutil.which(program, path=ENVIRONMENT["PATH"]):
                raise LabError(f"There is no {program}. On Debian: apt-get install {package}")
        if os.geteuid():
            raise LabError("Network namespaces need root: try sudo.")
        if self.is_up():
            if self._ready.read_text(encoding="ascii") != str(self.bgp):
                raise LabError("The lab is up in its other form, with or without BGP: take it down first.")
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
            self.close_window()
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

    def close_window(self) -> None:
        """Take away the way for this machine's browser, if there is one."""
        if Path("/sys/class/net", self.window).exists():
            run(["ip", "link", "delete", self.window])

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
            run(["ip", "-n", self.namespace(host), "-batch", "-"], host_batch(host, self.bgp))
            names = Path("/etc/netns", self.namespace(host), "resolv.conf")
            names.parent.mkdir(parents=True)
            names.write_text(f"nameserver {NAMESERVER}\n", encoding="ascii")
        (self.state / "dnsmasq.conf").write_text("\n".join(dns_lines()) + "\n", encoding="ascii")
        conf = f"--conf-file={self.state / 'dnsmasq.conf'}"
        self.start(CHAIN[0], ["dnsmasq", "--keep-in-foreground", conf], "dnsmasq.log")
        for host, daemons in ROUTING.items() if self.bgp else ():
            self._start_routing(host, daemons)
        # Cables last: FRR refuses IPv6 routes over a session that is older than its list of interfaces.
        (self.state / "cables.json").write_text(json.dumps(cables()), encoding="ascii")
        # -S: the standard library is enough, and no site package (a coverage measurement) slows it down.
        python = [sys.executable, "-I", "-S"]
        self.start(WIRES, [*python, str(HERE / "cable.py"), str(self.state / "cables.json")], "cable.log")

    def _start_routing(self, host: str, daemons: dict[str, tuple[str, ...]]) -> None:
        """Start the routing daemons of a router, each when the one before it is ready."""
        state = self.state / host
        state.mkdir(mode=0o755)
        for ready, program in daemons.items():
            argv = [word.format(state=state, conf=HERE / f"{host}.conf") for word in program]
            self.start(host, argv, f"{host}/{ready}.log")
            self._until((state / ready).exists, f"{program[0]} on {host}")

    def _set(self, host: str, settings: dict[str, str]) -> None:
        lines = "".join(f"/proc/sys/{key} {value}\n" for key, value in settings.items())
        script = 'while read -r file value; do [ ! -w "$file" ] || echo "$value" > "$file" || exit; done'
        run([*self.enter(host), "sh", "-c", script], lines)

    def _wait(self) -> None:
        """Wait until the far end answers by name in both families, and BGP has converged: that needs all."""
        name = f"{TARGETS[0].name}.example"
        probes = [(["ping", family, "-c", "1", "-W", "1", name], " 1 received") for family in ("-4", "-6")]
        for host, question, answer in CONVERGED if self.bgp else ():
            probes.append((self.ask_daemon(host, question), answer))
        for argv, answer in probes:

            def answered(argv: list[str] = argv, answer: str = answer) -> bool:
                return answer in self.exec(CHAIN[0], argv).stdout

            self._until(answered, " ".join(argv))
        self._ready.write_text(str(self.bgp), encoding="ascii")

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds; raise LabError with what the daemons said if it does not."""
        end = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > end:
                logs = "".join(log.read_text(encoding="utf-8") for log in self.state.rglob("*.log"))
                raise LabError(f"{what}: no answer after {PATIENCE} seconds. {logs}")
            time.sleep(0.02)


def open_window(lab: Lab, network: str) -> str:
    """Connect this machine to the looking glass and return the latter's address."""
    visitors = ipaddress.IPv4Network(network)
    for route in json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"])):
        used = route["dst"]
        if used != "default" and visitors.overlaps(ipaddress.IPv4Network(used, strict=False)):
            raise LabError(f"{network} overlaps {used} of this machine: choose another with --visitors.")
    here, there = (f"{visitors[number]}/{visitors.prefixlen}" for number in (1, 2))
    glass = lab.namespace("lg")
    run(["ip", "link", "add", lab.window, "type", "veth", "peer", "name", "web0", "netns", glass])
    for where, device, address in (([], lab.window, here), (["-n", glass], "web0", there)):
        run(["ip", *where, "address", "add", address, "dev", device])
        run(["ip", *where, "link", "set", device, "up"])
    return str(visitors[2])


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


def with_routers(lab: Lab) -> str:
    """Write a configuration with the routers' daemons and return its path.

    Without their ping and traceroute, for TinyTracer may not enter their namespaces.
    """
    document = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    routers = [{"name": "lg.example", "commands": document.pop("commands")}, *map(lab.router, DAEMONS)]
    for router in routers[1:]:
        commands = router["commands"].items()
        router["commands"] = {name: command for name, command in commands if name.startswith("show")}
    path = lab.state / "config.json"
    path.write_text(json.dumps({**document, "routers": routers}), encoding="utf-8")
    return str(path)


def glass_argv(lab: Lab, config: str, address: str, port: int) -> list[str]:
    """Return the command line of TinyTracer in the lab, as the user who called sudo."""
    argv = lab.enter("lg")
    if user := os.environ.get("SUDO_UID"):
        group = os.environ.get("SUDO_GID", user)
        for path in filter(Path.is_socket, lab.state.rglob("*")):  # the routing daemons'
            os.chown(path, int(user), int(group))
        argv += ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    program = [sys.executable, str(ROOT / "tinytracer.py"), "serve"]
    return [*argv, *program, "--config", config, "--listen", f"{address}:{port}"]


def wait_for_listener(program: subprocess.Popen[bytes], address: tuple[str, int]) -> None:
    """Wait until a program listens on ``address``, or has ended."""
    while program.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(address):
            return
        time.sleep(0.05)


def serve(lab: Lab, config: str | None, visitors: str, port: int) -> int:
    """Run TinyTracer in the lab until it ends or Ctrl-C; return its exit status."""
    address = open_window(lab, visitors)
    config = config or (with_routers(lab) if lab.bgp else str(HERE / "config.json"))
    glass = subprocess.Popen(glass_argv(lab, config, address, port), stdin=subprocess.DEVNULL)
    urls = [f"http://{address}:{port}/"]
    try:
        with contextlib.ExitStack() as stack:
            try:
                listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
                threading.Thread(target=carry_all, args=(listener, (address, port)), daemon=True).start()
                urls.append(f"http://127.0.0.1:{port}/")
            except OSError as error:
                print(f"127.0.0.1:{port}: {error.strerror}", file=sys.stderr)
            wait_for_listener(glass, (address, port))
            print(f"TinyTracer in the lab: {' or '.join(urls)} - Ctrl-C ends it.", flush=True)
            return glass.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with undisturbed():
            glass.terminate()
            glass.wait()
            lab.close_window()


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A small Internet in network namespaces. Needs root.")
    parser.add_argument("--prefix", default="tt-", help="begins the names of the namespaces (default: tt-)")
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="build it, unless it is up")
    actions.add_parser("down", help="take it down, also what a crash left")
    command = actions.add_parser("exec", help="run a command in a host's namespace")
    command.add_argument("host", choices=CHAIN)
    command.add_argument("command", nargs=argparse.REMAINDER)
    glass = actions.add_parser("run", help="run TinyTracer in it; if it was not up, it is down afterwards")
    glass.add_argument("--config", metavar="FILE", help="default: config.json, and the routers with --bgp")
    glass.add_argument("--visitors", default=VISITORS, metavar="NETWORK", help=f"default: {VISITORS}")
    glass.add_argument("--port", type=int, default=8080, help="default: 8080")
    for action in (up, glass):
        action.add_argument("--bgp", action="store_true", help="with BIRD and FRR on the routers")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
    try:
        lab = Lab(options.prefix, bgp=getattr(options, "bgp", False))
        if options.action == "exec":
            os.execvp("ip", [*lab.enter(options.host), *options.command])
        if options.action == "up":
            lab.up()
            prefix = f"--prefix {options.prefix} " if options.prefix != "tt-" else ""
            print(f"The lab is up. Try: {sys.argv[0]} {prefix}exec lg traceroute target.example")
        elif options.action == "down":
            lab.down()
        elif lab.is_up():
            return serve(lab, options.config, options.visitors, options.port)
        else:
            print("Building the lab, which takes some seconds.", flush=True)
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
