"""The headers that go with answers: one table, and which of its rows a resource has.

Strict-Transport-Security is left to the proxy that speaks TLS, and Server is never sent.
"""

from __future__ import annotations

from collections.abc import Iterable

# RFC 9110 section 5.6.2: a token; a possessive quantifier keeps the time linear for any header.
TCHARS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# What the page does without: features of Permissions-Policy that browsers know.
DENIED = (
    "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "fullscreen", "geolocation",
    "gyroscope", "hid", "identity-credentials-get", "idle-detection", "local-fonts", "magnetometer",
    "microphone", "midi", "payment", "picture-in-picture", "publickey-credentials-create",
    "publickey-credentials-get", "screen-wake-lock", "serial", "storage-access", "usb", "window-management",
    "xr-spatial-tracking",
)  # fmt: skip

# Every answer.
CONNECT = "connect-src 'self'"
POLICY = "Content-Security-Policy"
SECURITY = {
    POLICY: (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; {CONNECT};"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in DENIED),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# What programs on all sites may read, lists and descriptions; it goes behind SECURITY.
OPEN = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
# What programs on the sites may read that the configuration's "cors" names: runs. Images and the like on
# other sites run nothing, so that Cross-Origin-Resource-Policy stays as it is.
EXPOSED = {"Access-Control-Expose-Headers": "Age, RateLimit, RateLimit-Policy, Retry-After"}
# What stands alone and may be shown on any site, behind SECURITY; its own styles need a policy of their own.
ALONE = {"Cross-Origin-Resource-Policy": "cross-origin"}
# What is made for one request.
FRESH = {"Cache-Control": "no-store", "Vary": "Accept"}
# The same, where the answer depends on which site asks.
BY_ORIGIN = {"Vary": "Accept, Origin"}
# What is made for one visitor, whose browser shows it again without a request when the visitor goes back.
REVISITED = {"Cache-Control": "private, no-cache"}
# What comes piece by piece.
LIVE = {"X-Accel-Buffering": "no"}
# What OPTIONS answers where programs on other sites may read (Fetch standard, CORS-preflight fetch).
PREFLIGHT = {
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Max-Age": "600",
}


def allowing(urls: Iterable[str]) -> dict[str, str]:
    """Return the header that lets a page's script read some URLs beside its own site's; none for none."""
    more = "".join(f" {url}" for url in urls)
    return {POLICY: SECURITY[POLICY].replace(CONNECT, CONNECT + more)} if more else {}
