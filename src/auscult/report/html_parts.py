"""The building blocks of a page: escaped text, tables, marked transcripts, embedded figures, and the style sheet.

A page is one file that opens anywhere, also in ten years: no scripts, no fonts or images from elsewhere; sounds alone are links to files
of the run. Everything from the
store is escaped, since transcripts and file names may hold anything.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, features

from auscult.report.alignment import align_words

NOT_RUN = "not run"
_PAGE_PIXELS = 1600
"""Width of embedded figures: sharp on a screen of twice the usual density, and 220 dots per inch on paper."""

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1f2933;--soft:#5d6670;--line:#d5dbe1;--card:#f5f7f9}
:root{--good:#00734f;--bad:#a84400;--link:#0062a0}
@media(prefers-color-scheme:dark){:root{--page:#14181c;--ink:#e4e9ee;--soft:#a3adb7;--line:#353d45;--card:#1d2329}
:root{--good:#45c79c;--bad:#ff9d5c;--link:#6db9ee}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:1.5rem 1.2rem 4rem;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.55rem;margin:.2rem 0;overflow-wrap:anywhere}
h3{font-size:1rem;margin:1.4rem 0 .3rem;overflow-wrap:anywhere}audio{height:2.2rem;min-width:18rem;vertical-align:middle}
h2{font-size:1.15rem;margin:2.2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
p,ul{margin:.4rem 0}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
.badge{display:inline-block;border:1.5px solid currentColor;border-radius:.5rem;padding:.05rem .55rem;font-weight:600;font-size:.85rem}
.banner{border:2px solid var(--bad);border-radius:.6rem;padding:.6rem .9rem;margin:1rem 0;font-weight:600;color:var(--bad)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.5rem 0}
th,td{padding:.28rem .65rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line)}
th:first-child,td:first-child,.text{text-align:left}
th:first-child,td:first-child{white-space:nowrap}thead th{border-bottom:2px solid var(--soft)}
td.text{min-width:16rem;overflow-wrap:anywhere}
.facts th{font-weight:500;color:var(--soft);white-space:nowrap}.facts td{text-align:left;overflow-wrap:anywhere}
del{color:var(--bad)}ins{color:var(--good);text-decoration:underline}b.wrong{color:var(--bad);border-bottom:2px dotted currentColor}
figure{margin:1.4rem 0}figure img{width:100%;height:auto;display:block}
figcaption{font-size:.9rem;color:var(--soft);margin-top:.3rem}
pre{background:var(--card);padding:.8rem;border-radius:.5rem;overflow-x:auto;font-size:.82rem}summary{cursor:pointer;color:var(--link)}
@media print{:root{--page:#fff;--ink:#000;--soft:#444;--line:#bbb;--card:#f5f5f5;--good:#00734f;--bad:#a84400}
body{max-width:none;padding:0;font-size:10pt}figure,tr,.banner{break-inside:avoid}h2{break-after:avoid}.wide{overflow:visible}}
"""


def escape(value: object) -> str:
    """Return text that is safe between tags and in quoted attributes."""
    return html.escape(str(value), quote=True)


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole document; the body's pieces are HTML already."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>{escape(title)}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body></html>\n'


def section(title: str, *pieces: str) -> str:
    """Return a headed section."""
    return f"<section><h2>{escape(title)}</h2>\n{chr(10).join(pieces)}</section>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    """Return a list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], markup: Sequence[int] = ()) -> str:
    """Return a table of plain texts; the columns in `markup` hold HTML and are set as running text."""

    def cell(column: int, value: str) -> str:
        return f'<td class="text">{value}</td>' if column in markup else f"<td>{escape(value)}</td>"

    heads = "".join(f"<th{' class=text' if column in markup else ''}>{escape(name)}</th>" for column, name in enumerate(header))
    lines = ["<tr>" + "".join(cell(column, value) for column, value in enumerate(row)) + "</tr>" for row in rows]
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a two-column table of names and plain values."""
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in pairs)
    return f'<div class="wide"><table class="facts"><tbody>{lines}</tbody></table></div>'


def folded(summary: str, content: str) -> str:
    """Return content that opens on a click; it prints as it stands on the screen."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def number(value: float | None, pattern: str = ",.4g") -> str:
    """Return a formatted number, "–" for nan or None."""
    return "–" if value is None or math.isnan(value) else format(value, pattern)


def transcripts(reference: str, hypothesis: str) -> str:
    """Return a reference with what was heard instead: deletions struck out, insertions underlined, substitutions as wrong → right pairs.

    >>> transcripts("a b", "a c")
    'a <b class="wrong"><del>b</del> → c</b>'
    """
    words = []
    for kind, expected, heard in align_words(reference.split(), hypothesis.split()):
        if kind == "match":
            words.append(escape(expected))
        elif kind == "substitution":
            words.append(f'<b class="wrong"><del>{escape(expected)}</del> → {escape(heard)}</b>')
        elif kind == "deletion":
            words.append(f"<del>{escape(expected)}</del>")
        else:
            words.append(f"<ins>{escape(heard)}</ins>")
    return " ".join(words)


def figure(path: Path, caption: str) -> str:
    """Return a picture, embedded, with its caption; a missing one is said to be missing."""
    if not path.exists():
        return paragraph(f"{path.name}: not drawn", "soft")
    kind, data = _embedded(path)
    address = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return f'<figure><img src="{address}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def _embedded(path: Path) -> tuple[str, bytes]:
    """Return a smaller copy of a 300 dpi picture, transparency kept: WebP, or PNG where Pillow was built without it."""
    kind = "webp" if features.check("webp") else "png"
    with Image.open(path) as picture:
        height = round(picture.height * _PAGE_PIXELS / picture.width)
        small = picture.convert("RGBA").resize((_PAGE_PIXELS, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if kind == "webp":
        small.save(stream, "WEBP", quality=82, method=4)
    else:
        small.save(stream, "PNG")
    return kind, stream.getvalue()
