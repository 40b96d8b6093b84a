"""Players for the sounds that an evaluation kept beside a run, with the level of each.

Sounds are linked, never embedded: a page stays small enough to be mailed, and says what it lacks where the folder did not travel with
it. Levels stand beside the players, because a listener turns up what is quiet and then takes a faint output for a good one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from auscult.report.html_parts import escape, figure, number, paragraph, section, table
from auscult.report.train_record import Judged


def anchor(split: str, place: int) -> str:
    """Return the name of an item's players within the page.

    >>> anchor("test", 1)
    'listen-test-1'
    """
    return f"listen-{quote(split)}-{place}"


def examples_name(split: str) -> str:
    """Return the name of the figure that shows what can be listened to."""
    return f"separation_examples_{split}"


def listen(run: Path, judged: Judged, drawn: bool) -> str:
    """Return the section of a split's sounds; empty where none were kept.

    Args:
        run: folder of the run, in which the page lies.
        judged: with the index of its sounds.
        drawn: whether the sounds have a figure.
    """
    index = judged.listening
    items = index.get("items", ())
    if not items:
        return ""
    note = paragraph(
        f"{len(items)} of {len(judged.items):,}, from the worst to the best by {index.get('metric', 'the metric of the task')}; players "
        f"need the folder listening beside this page. Scaling: {index.get('scaling', 'not stated')}.",
        "soft",
    )
    pictures = []
    if drawn:
        caption = (
            f"Sounds of {judged.split}: mixture, sources, and estimates at the gain that brings each nearest to its source; one scale of "
            "colours for each mixture."
        )
        pictures = [figure(run / "figures" / f"{examples_name(judged.split)}.png", caption)]
    pieces = [_item(run, judged.split, place, item) for place, item in enumerate(items, start=1)]
    return section(f"Listen: {judged.split}", note, *pictures, *pieces)


def _item(run: Path, split: str, place: int, item: Mapping[str, Any]) -> str:
    said = [str(item.get("place", "")), str(item.get("id", ""))]
    said += [f"variant {item['variant']}"] if "variant" in item else []
    said += [f"improvement {item['si_sdri']:+.2f} dB"] if isinstance(item.get("si_sdri"), int | float) else [f"value {item.get('value')}"]
    head = f'<h3 id="{escape(anchor(split, place))}">{escape(" · ".join(said))}</h3>'
    rows = [_sound(run, split, sound) for sound in item.get("sounds", ())]
    listing = table(("sound", "player", "level, dB of full scale", "peak"), rows, markup=(1,))
    gain = paragraph(f"Saved at a gain of {float(item.get('gain_db', 0.0)):+.1f} dB; levels and peaks are those before it.", "soft")
    broken = item.get("not_finite") or ()
    warning = [f'<p class="bad">{escape("not finite in places, silenced there: " + ", ".join(map(str, broken)))}</p>'] if broken else []
    return "\n".join([head, *warning, listing, gain])


def _sound(run: Path, split: str, sound: Mapping[str, Any]) -> list[str]:
    file = Path(str(sound.get("file", ""))).name
    address = f"listening/{split}/{file}"
    player = f'<audio controls preload="none" src="{escape(quote(address))}"></audio>' if (run / address).is_file() else "file missing"
    return [str(sound.get("name", file)), player, number(sound.get("rms_db"), ".1f"), number(sound.get("peak"), ".3f")]
