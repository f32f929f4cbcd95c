"""Take the screenshots of the README: the page in Chromium, the tools and daemons in the lab.

Needs what the lab with BGP needs, Chromium, Playwright for Python and, for small files, pngquant:

    .venv/bin/pip install --requirement requirements-dev.txt
    sudo .venv/bin/python examples/screenshots/make.py [FOLDER [SHOT]...]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # for it is run as a script

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from examples.lab.lab import VISITORS, Lab, glass_argv, open_window, wait_for_listener  # noqa: E402

PORT = 8080
COLOURS = "64"  # of a picture
# Name, host of the lab, city, country: nine routers, of which some are in one place.
SITES = (
    ("ber1", "lg", "Berlin", "de"),
    ("fra1", "r1", "Frankfurt", "de"),
    ("fra2", "r1", "Frankfurt", "de"),
    ("par1", "r2", "Paris", "fr"),
    ("par2", "r2", "Paris", "fr"),
    ("lon1", "r3", "London", "gb"),
    ("lon2", "r3", "London", "gb"),
    ("vie1", "r4", "Vienna", "at"),
    ("vie2", "r4", "Vienna", "at"),
)
DOMAIN = "lg.example"
PING = ["ping", "-4", "-n", "-O", "-c", "30", "-i", "0.2", "-W", "1", "{{TARGET}}"]
MTR = ["mtr", "-4", "--raw", "-c", "10", "-i", "0.5", "-G", "1", "-m", "30", "{{TARGET}}"]
TRACEROUTE = ["traceroute", "-4", "-w", "1", "-m", "30", "{{TARGET}}"]


class Shot(NamedTuple):
    """Say how the page is looked at: what is asked and shown is a function's."""

    name: str
    show: Callable[[Page], None]
    width: int = 1280
    height: int = 720
    scheme: Literal["light", "dark"] = "light"


def configuration(lab: Lab) -> dict[str, Any]:
    """Return nine routers that ping from where they are; the first BIRD and the first FRR show routes."""
    routers = []
    for name, host, city, country in SITES:
        enter = lab.enter(host)
        commands: dict[str, Any] = {
            "ping": {
                "description": "Send thirty echo requests.",
                "cmd4": [*enter, *PING],
                "parser": "ping",
            }
        }
        if host == "lg":
            commands["mtr"] = {
                "description": "Show loss and delay of each hop, ten rounds.",
                "cmd4": MTR,
                "parser": "mtr",
            }
            commands["traceroute"] = {
                "description": "Show the path.",
                "cmd4": TRACEROUTE,
                "parser": "traceroute",
            }
        own: dict[str, Any] = {}
        if host != "lg":
            own = lab.router(host)
            shown = own["commands"].items()
            commands |= {each: command for each, command in shown if each.startswith("show")}
        place = {"name": f"{name}.{DOMAIN}", "city": city, "country": country}
        routers.append({"autonomous_system": 64500, **own, **place, "commands": commands})
    return {
        "info": {"title": "Example Networks", "blurb": "AS64500, nine routers in four countries."},
        "routers": routers,
        "limits": {
            "rate": "600/minute",
            "burst": 100,
            "target_rate": "600/minute",
            "global_rate": "600/minute",
            "slot_seconds": "10000/minute",
            "network_share": 1,
            "per_client": 4,
            "routers_at_once": 7,
        },
        "targets": {"deny": []},
        "showip": False,
    }


@contextmanager
def glass() -> Iterator[str]:
    """Yield the URL of a looking glass in a lab."""
    with Lab("shot-", bgp=True) as lab:
        address = open_window(lab, VISITORS)
        path = lab.state / "config.json"
        path.write_text(json.dumps(configuration(lab)), encoding="utf-8")
        argv = glass_argv(lab, str(path), address, PORT)
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_listener(server, (address, PORT))
            yield f"http://{address}:{PORT}/"
        finally:
            server.terminate()
            server.wait()


def ask(page: Page, command: str, target: str, *routers: str) -> None:
    """Fill in the form and press Run."""
    first, *others = routers or ("ber1",)
    page.locator("#router").select_option(f"{first}.{DOMAIN}")
    if others:
        page.locator("#others summary").click()
        for name in others:
            page.locator(f'#others input[value="{name}.{DOMAIN}"]').check()
        page.locator("#others summary").click()
    page.locator("#cmd").select_option(command)
    if target:
        page.locator("#ip").fill(target)
    page.locator("#run").click()


def finish(page: Page) -> None:
    """Wait until nothing runs any more."""
    page.locator("#run").wait_for(state="visible", timeout=120_000)
    page.mouse.move(0, 0)
    time.sleep(0.3)


# --- what is shown


def ping(page: Page) -> None:
    """Show a target that loses answers."""
    ask(page, "ping", "lossy.example")
    finish(page)


def ping_midway(page: Page) -> None:
    """Show it before its end."""
    ask(page, "ping", "lossy.example")
    time.sleep(3.5)


def mtr(page: Page) -> None:
    """Show mtr before its end."""
    ask(page, "mtr", "lossy.example")
    time.sleep(3.5)


def bgp(page: Page) -> None:
    """Show two paths, of which one has prepends."""
    ask(page, "show route", "203.0.113.0/24", "fra1")
    finish(page)


def two(page: Page) -> None:
    """Show two routers side by side."""
    ask(page, "ping", "lossy.example", "ber1", "lon1")
    finish(page)


def nine(page: Page) -> None:
    """Show nine routers, of which two wait."""
    ask(page, "ping", "lossy.example", *(name for name, *_ in SITES))
    time.sleep(8)


def phone(page: Page) -> None:
    """Show mtr at its end."""
    ask(page, "mtr", "lossy.example")
    finish(page)


def comparison(page: Page) -> None:
    """Show two answers of mtr, to targets in one place."""
    results = []
    for target in ("target.example", "lossy.example"):
        ask(page, "mtr", target)
        finish(page)
        results.append(page.locator(".answer a.button", has_text="Link").first.get_attribute("href") or "")
    page.goto(f"{results[0]}/vs/{results[1].rpartition('/')[2]}")


SHOTS = (
    Shot("ping", ping),
    Shot("mtr", mtr, height=560),
    Shot("bgp", bgp, height=560),
    Shot("two-routers", two),
    Shot("nine-routers", nine, height=600),
    Shot("phone", phone, 360, 760),
    Shot("dark", ping_midway, scheme="dark"),
    Shot("comparison", comparison, height=420),
)


def take(browser: Browser, url: str, shot: Shot, folder: Path) -> None:
    """Take a screenshot, in few colours where that is possible."""
    size: Any = {"width": shot.width, "height": shot.height}
    context = browser.new_context(viewport=size, color_scheme=shot.scheme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(url)
    shot.show(page)
    path = folder / f"{shot.name}.png"
    page.screenshot(path=path, full_page=False)
    context.close()
    if shutil.which("pngquant"):
        quantize = ["pngquant", "--force", "--speed=1", "--strip", f"--output={path}", COLOURS, str(path)]
        subprocess.run(quantize, check=True)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    """Take all of them, or those that are named behind the folder."""
    names = [shot.name for shot in SHOTS]
    parser = argparse.ArgumentParser(description="Take the screenshots of the README. Needs root.")
    parser.add_argument("folder", nargs="?", type=existing_folder, default=Path(__file__).parent,
                        metavar="FOLDER", help="where they go; default: beside this script")  # fmt: skip
    parser.add_argument(
        "shots", nargs="*", default=names, metavar="SHOT", help=f"of {', '.join(names)}; default: all"
    )
    options = parser.parse_args()
    if unknown := {*options.shots} - {*names}:
        parser.error(f"there is no screenshot {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    with glass() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for shot in SHOTS:
            if shot.name in options.shots:
                take(browser, url, shot, options.folder)
        browser.close()


def existing_folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return Path(text)


if __name__ == "__main__":
    main()
