"""Text of traceroute in, facts out."""

from __future__ import annotations

import re

from lookingglass.facts.common import ADDRESS, NUMBER, Facts, as_number, is_address, named_host

# " 3  ae3.r3.example (198.51.100.10) [AS64500]  8.7 ms * 8.9 ms !X"
HOP = re.compile(r" {0,3}([1-9][0-9]{0,2}) {1,4}(\S.*)")
NO_STAR = r"(?!\*(?!\.))"  # but "*.isp.example" is a name
# BSD and IOS begin a line for each further address of a hop; others tell of MPLS labels there.
FURTHER = re.compile(rf" {{3,8}}({NO_STAR}\S.*)")
END = r"(?=\s|$)"
DOTTED = rf"(?=[0-9]{{1,3}}\.|[0-9A-Fa-f]{{0,4}}:){ADDRESS}"  # "(255)" is a TTL, "(dead.beef)" a name
# "8.7 ms", inetutils: "8.7ms", IOS: "4 msec"; not known: "<1 ms", Huawei's "< 10 ms", "-0.1 ms", IOS' "?".
TIME = (
    rf"(?P<rtt>{NUMBER}) {{0,2}}(?:ms|msec){END}"
    r"|(?P<odd>(?:[<>~+-]{1,2} ?)?[0-9]{1,20}(?:[.,][0-9]{1,20}){0,2}) {0,2}"
    rf"(?:ms|msec|us|usec|µs|s|sec){END}|(?P<unknown>\?){END}"
)
TOKEN = re.compile(
    rf"(?P<star>\*{{1,16}}){END}|{TIME}"
    rf"|(?P<name>{NO_STAR}(?!!|\[[^\]]{{0,200}}\]\s)\S{{1,255}}) \((?P<known>{DOTTED})\)"
    rf"|\((?P<lone>{DOTTED})\){END}"
    rf"|(?P<note>![A-Z0-9<>-]{{0,12}}){END}"
    # "[AS64500]", "[AS64500/AS64501]", Junos: "[AS  64500]"
    rf"|\[(?:AS)?(?P<asn> {{0,4}}[0-9]{{1,10}}(?:\.[0-9]{{1,5}})?)(?:[\s,/][^\]]{{0,80}})?\]{END}"
    # What else stands there: "[*]", "[open]", "[MPLS: Label 16 Exp 0]", "<MPLS:L=16,E=0,S=1,T=1>", "(255)",
    # "F=1480", "'-8'", "MPLS Label=16 CoS=0", "More labels", "36 bytes to 192.0.2.1"
    rf"|(?P<remark>\[[^\]]{{0,200}}\]{END}|<[^>]{{0,300}}>{END}|\([^()]{{0,200}}\){END}|[A-Za-z]{{1,10}}=\S{{1,80}}"
    rf"|'-?[0-9]{{1,3}}'|MPLS{END}|More labels|[0-9]{{1,5}} bytes (?:of data )?to \S{{1,80}})"
    # inetutils: "198.51.100.10 (ae3.r3.example)  8.7ms"
    rf"|(?P<bare>{ADDRESS})(?: \((?P<alias>[^\s()/,]{{1,255}})\))?{END}|(?P<word>\S+)"
)
NEXT_TIME = re.compile(rf" {{1,3}}(?:{TIME})")
HOST_NAME = re.compile(r"(?=[^A-Za-z]{0,254}[A-Za-z])\w[\w.-]{0,254}")
HOST_KINDS = ("known", "lone", "bare")


def read(text: str, complete: bool) -> Facts:
    """Return hops, each with its probes: address, name, rtt (ms), asn and note; None is a star.

    What follows something that was not understood is left out of its hop.
    """
    hops: list[Facts] = []
    here: Line | None = None  # the hop that a further line belongs to
    for line in text.split("\n"):
        if match := HOP.fullmatch(line):
            here = Line()
            here.read(match[2])
            hops.append({"hop": int(match[1]), "probes": here.probes})
        elif here and (match := FURTHER.fullmatch(line)):
            here.read(match[1])
        else:
            here = None
    hops = [hop for hop in hops if hop["probes"]]
    return {"hops": hops} if hops else {}


class Line:
    """The line of a hop, read from the left: a time belongs to the last host that was named before it."""

    def __init__(self) -> None:
        self.probes: list[Facts | None] = []
        self._host: Facts = {}
        self._asn: int | None = None  # BSD names it before its host
        self._is_named = False  # the host was just named, and no probe told yet
        self._is_timed = False  # a note that comes now belongs to the last probe
        self._is_broken = False  # what comes now could belong to anybody

    def read(self, text: str) -> None:
        """Add the probes of the hop's first line, or of a further one."""
        self._host, self._asn = {}, None
        self._is_named = self._is_timed = False
        for match in TOKEN.finditer(text):
            if self._is_broken or not self._take(match):
                # A further line that begins with no host, as one of MPLS labels, breaks nothing.
                self._is_broken = self._is_broken or bool(self._host or match.start() or not self.probes)
                return

    def _take(self, match: re.Match[str]) -> bool:
        """Understand a token, or return False."""
        if match["star"]:
            self._add(*[None] * len(match["star"]))
        elif match["rtt"] or match["odd"] or match["unknown"]:
            if not self._host:  # Windows tells the times first
                return False
            self._add({**self._host, "rtt": float(match["rtt"]) if match["rtt"] else None})
            self._is_timed = True
        elif match["note"]:
            self._take_note(match["note"])
        elif match["asn"]:
            self._take_asn(as_number(match["asn"].strip()))
        elif kind := next((kind for kind in HOST_KINDS if match[kind] and is_address(match[kind])), ""):
            self._name(named_host(match["name"] or match["alias"], match[kind]))
        elif not match["remark"]:
            return self._take_word(match)
        return True

    def _add(self, *probes: Facts | None) -> None:
        self.probes += probes
        self._is_named = self._is_timed = False

    def _take_note(self, note: str) -> None:
        last = self.probes[-1] if self._is_timed else None
        if last:
            last["note"] = note
            self._is_timed = False
        else:  # IOS tells no time then: "198.51.100.1 !A * !A"
            self._add({**self._host, "rtt": None, "note": note})

    def _take_asn(self, asn: int | None) -> None:
        if not self._is_named:
            self._asn = asn
        elif asn:
            self._host["asn"] = asn

    def _name(self, host: Facts) -> None:
        self._host = {**host, "asn": self._asn} if self._asn else host
        self._asn = None
        self._is_named, self._is_timed = True, False

    def _take_word(self, match: re.Match[str]) -> bool:
        """Take a name without an address, as KAME's traceroute6 prints it before a time."""
        word = match[0]
        if self._is_named:
            return not re.fullmatch(r"[0-9.]{1,9}%", word)  # a table of another tool
        may_be_host = "." in word or not self._host
        if may_be_host and HOST_NAME.fullmatch(word) and NEXT_TIME.match(match.string, match.end()):
            self._name({"name": word})
            return True
        return False
