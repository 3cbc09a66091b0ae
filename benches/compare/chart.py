"""A bar chart as SVG, by hand: bars of very different lengths, so on a logarithmic scale."""

import math
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 860, 250, 90, 22, 10, 46


def svg(bars, title):
    """Bars by name, the longest first."""
    ordered = sorted(bars.items(), key=lambda bar: -bar[1])
    highest = math.ceil(math.log10(max(bars.values())))
    lowest = min(highest - 1, math.floor(math.log10(min(bars.values()))))

    def at(value):
        return LEFT + (math.log10(value) - lowest) / (highest - lowest) * (WIDTH - LEFT - RIGHT)

    bottom = TOP + len(ordered) * (BAR + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 26}" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{bottom + 26}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" fill="#333333" font-size="15">{escape(title)}</text>',
    ]
    for power in range(lowest, highest + 1):
        x = at(10**power)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" fill="#666666" text-anchor="middle">{10**power:,}</text>')
    for row, (name, value) in enumerate(ordered):
        y, end = TOP + row * (BAR + GAP), at(value)
        colour = "#2f6f4f" if name.startswith("Herdsman") else "#9aa5b1"
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 16}" fill="#333333" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<text x="{end + 6:.1f}" y="{y + 16}" fill="#333333">{value:,.0f}</text>')
    return "\n".join([*parts, "</svg>", ""])
