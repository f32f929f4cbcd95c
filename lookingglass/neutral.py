"""Characters that a terminal or a browser might obey, and what is shown instead of them."""

from __future__ import annotations

# C0 as control pictures; C1, the bidirectional controls, the two Unicode line separators, and the surrogates
# that JSON may hold, as the replacement character. Text of a tool keeps its lines and tabs.
NEUTRAL = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F)], 0xFFFD),
    **dict.fromkeys([*range(0x2066, 0x206A), *range(0xD800, 0xE000)], 0xFFFD),
}
