"""The page of a sweep of attacks: who knows what, curves, the map, every cell with its interval, what failed, and a few sounds.

A table of defences tempts to a verdict. The page therefore says before the first figure what it is a table of (one attack, one victim, so
many utterances), puts what a defence costs beside what it hides, and lists the cells in which the attack gave up or the run failed with the
reasons counted: a dark field is a statement about the attack as long as nothing stronger was tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from urllib.parse import quote

from auscult.metrics.attack_cells import counted
from auscult.report.attack_words import ATTACK, RESPONSIBLE, SCORES, SHARES, threat_model
from auscult.report.html_parts import bullets, escape, figure, folded, number, paragraph, section, table
from auscult.report.page_sections import heading, identity, recipe
from auscult.report.sweep_record import Row, SweepRun

CURVES, MAP = "sweep_curves", "sweep_map"
CONTROLS = {"zero": "zeros", "corpus_mean": "mean of others", "random_other": "another utterance"}
UTILITY = {
    "loss_fall": "fall of the loss left",
    "loss_fall_same_rate": "the same at the undefended rate",
    "cosine": "cosine",
    "relative_error": "relative error",
}
PARTS = ("scores", "transcripts", "characters")
"""Where the scores of a cell's attack stand."""
MOST_PLAYED = 4
CAUTION = "Sounds called synthetic reconstruction were computed from a message; mean and deviation are guesses from other utterances."


def body(sweep: SweepRun) -> list[str]:
    """Return the pieces of the page."""
    pieces = [heading(sweep.run, "Privacy audit: a sweep of attacks"), f'<p class="banner">{escape(RESPONSIBLE)}</p>']
    if not sweep.summary:
        pieces.append(paragraph("No cell is done yet; there is nothing to report."))
    else:
        pieces += [_threat(sweep), _figures(sweep), _scores(sweep), _costs(sweep), _gave_up(sweep), _failed(sweep), _claims()]
        pieces += [_listen(sweep)] if sweep.listening else []
    return [*filter(None, pieces), identity(sweep.run, sweep.start, {}), recipe(sweep.run)]


def _threat(sweep: SweepRun) -> str:
    pieces, summary = [], sweep.summary
    if summary["threat_model"] is not None:
        first = summary["threat_model"]
        said = f"Of the cell {first['cell']}; the other cells differ from it in what is varied."
        pieces = [bullets(threat_model(first)), paragraph(said, "soft")]
    varied = [f"{axis}: {', '.join(labels)}" for axis, labels in summary["axes"].items()]
    counts = Counter(cell["state"] for cell in sweep.cells)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    seeds = ", ".join(map(str, summary["seeds"]))
    return section("Threat model", *pieces, paragraph("What is varied:"), bullets([*varied, f"seeds, averaged: {seeds}"]), paragraph(
        f"{len(sweep.cells)} cells: {told}.", "soft"))  # fmt: skip


def _figures(sweep: SweepRun) -> str:
    folder = sweep.run.path / "figures"
    return section(
        "Figures",
        figure(
            folder / f"{CURVES}.png",
            "What the attack finds against what the defence costs, a line for each defence with its strengths; bars are 95 % intervals. "
            "Compare defences at one place of the horizontal axis: low is hidden, to the left is cheap. What costs less than the left edge "
            "is drawn there. One step hides the cost of noise, which adds up over rounds: look at the lower row.",
        ),
        figure(folder / f"{MAP}.png", "Median SNR of every cell; × says in how many messages the attack itself gave up."),
    )


def _scores(sweep: SweepRun) -> str:
    """Return the table of what the attack found, controls beside it."""
    done = sweep.done
    axes = list(sweep.summary["axes"])
    names = [name for name in SCORES if any(name in cell[part].get(ATTACK, {}) for cell in done for part in PARTS)]
    controls = {name: words for name, words in CONTROLS.items() if any(name in cell["scores"] for cell in done)}
    rows = []
    for cell in done:
        found = {name: estimate for part in PARTS for name, estimate in cell[part].get(ATTACK, {}).items()}
        beside = [number(_settled(cell["scores"].get(name, {}).get("snr", {}).get("value")), ".1f") for name in controls]
        rows.append([*_labels(cell, axes), *(_estimate(found.get(name), name) for name in names), *beside])
    header = [*axes, *(SCORES[name] for name in names), *(f"SNR of {words}" for words in controls.values())]
    told = [f"{key}: {value}" for key, value in sweep.summary["protocol"].items()]
    return section("What came out", table(header, rows), folded("protocol", bullets(told)))


def _costs(sweep: SweepRun) -> str:
    """Return the table of what the message was still good for."""
    axes = list(sweep.summary["axes"])
    rows = [
        [*_labels(cell, axes), *(_estimate(cell["utility"].get(name), name) for name in UTILITY), f"{cell['messages']} × {cell['seeds']}"]
        for cell in sweep.done
    ]
    remark = (
        "One step on the batch behind each message, in the layers that were sent: what a defence costs over many rounds, and on other "
        "speech, is not measured here. Noise costs little in one step and adds up over rounds: look at its cosine."
    )
    return section(
        "What defences cost", folded("show costs", table([*axes, *UTILITY.values(), "messages × seeds"], rows)), paragraph(remark, "soft")
    )


def _labels(cell: Row, axes: list[str]) -> list[str]:
    return [str(cell["labels"][axis]) for axis in axes]


def _settled(value: float | None) -> float | None:
    return 0.0 if value is not None and abs(value) < 1e-9 else value


def _estimate(estimate: Mapping[str, float] | None, name: str) -> str:
    if estimate is None:
        return "–"
    pattern = ".0%" if name in SHARES else ".3g"
    value, low, high = (number(_settled(estimate[key]), pattern) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _gave_up(sweep: SweepRun) -> str:
    """Return where the attack itself said that it had found nothing, and why, counted."""
    given_up = [cell for cell in sweep.done if cell["gave_up"]["messages"]]
    reasons = counted(reason for cell in given_up for reason, count in cell["gave_up"]["reasons"].items() for _ in range(count))
    rows = [
        [cell["id"], f"{cell['gave_up']['messages']} of {cell['gave_up']['of']}", "; ".join(cell["gave_up"]["reasons"])]
        for cell in given_up
    ]
    if not rows:
        return section("Where the attack gave up", paragraph("In no message."))
    first = bullets([f"in {count} message{'s' * (count != 1)}: {reason}" for reason, count in reasons.items()])
    return section("Where the attack gave up", first, folded("by cell", table(("cell", "messages", "reason"), rows)))


def _failed(sweep: SweepRun) -> str:
    """Return the cells whose runs failed, with the reason of each; empty where none did."""
    rows = [
        [cell["id"], "–" if one["seed"] is None else str(one["seed"]), one["reason"]] for cell in sweep.cells for one in cell["failures"]
    ]
    return section("Failed cells", table(("cell", "seed", "reason"), rows)) if rows else ""


def _claims() -> str:
    return section("What this sweep does not show", bullets([
        "That a dark field is safe: another attack, or this one with more knowledge of the defence, may find what this one did not.",
        "How it is with other weights: leaks change in the course of training.",
        "What a defence costs in accuracy at the end of training: the loss after one step stands for it.",
    ]))  # fmt: skip


def _listen(sweep: SweepRun) -> str:
    """Return players of a few cells between the worst and the best, each one's median utterance."""
    heard = sorted((cell for cell in sweep.done if cell["id"] in sweep.listening), key=lambda cell: (_snr(cell), cell["id"]))
    places = sorted({place * (len(heard) - 1) // (MOST_PLAYED - 1) for place in range(MOST_PLAYED)})
    note = paragraph(
        f"{len(places)} of {len(heard)} cells, from the worst to the best by median SNR, each with its median utterance; players need the "
        "folder cells beside this page.",
        "soft",
    )
    return section("Listen", f'<p class="banner">{escape(CAUTION)}</p>', note, *(_players(sweep, heard[place]) for place in places))


def _snr(cell: Row) -> float:
    return float(cell["scores"].get(ATTACK, {}).get("snr", {}).get("value", 0.0))


def _players(sweep: SweepRun, cell: Row) -> str:
    folder = f"{cell['runs'][0]['run']}/listening/attack"
    pieces = []
    for item in sweep.listening[cell["id"]].get("items", ()):
        rows = []
        for sound in item.get("sounds", ()):
            address = f"{folder}/{sound['file']}"
            there = (sweep.run.path / address).is_file()
            player = f'<audio controls preload="none" src="{escape(quote(address))}"></audio>' if there else "file missing"
            rows.append([str(sound["name"]), player, number(sound.get("rms_db"), ".1f")])
        head = f"{cell['id']} · {item['id']}, {float(item['value']):.1f} dB"
        pieces.append(f"<h3>{escape(head)}</h3>" + table(("sound", "player", "level, dB of full scale"), rows, markup=(1,)))
    return "\n".join(pieces)


def figures_of(sweep: SweepRun) -> list[str]:
    """Return the names of the figures that a sweep has something to show in."""
    return [CURVES, MAP] if sweep.done else []
