"""The page of an attack: the threat model in words before any number, controls in the same table, and what a failure does not prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auscult.report.attack_heard_figure import panels
from auscult.report.attack_record import AttackRun
from auscult.report.attack_words import ATTACK, METHODS, RESPONSIBLE, SCORES, SHARES, cost_of_defences, tables, threat_model
from auscult.report.html_parts import bullets, escape, facts, figure, folded, number, paragraph, section, table, transcripts
from auscult.report.listening_page import listen
from auscult.report.page_sections import heading, identity, recipe
from auscult.report.train_record import Judged

MOST_ROWS = 100
RECONSTRUCTIONS, HEARD, COURSE = "attack_reconstructions", "attack_heard", "attack_course"


def figures_of(attack: AttackRun) -> list[str]:
    """Return the names of the figures that a run has something to show in."""
    there = {RECONSTRUCTIONS: bool(attack.pictures), HEARD: bool(panels(attack.summary)), COURSE: bool(attack.course)}
    return [name for name, shown in there.items() if shown]


def body(attack: AttackRun) -> list[str]:
    """Return the pieces of the page."""
    pieces = [heading(attack.run, "Privacy audit: what a message gives away"), f'<p class="banner">{escape(RESPONSIBLE)}</p>']
    if not attack.summary:
        pieces.append(paragraph("The attack is not finished; there is nothing to report yet but its course."))
    else:
        pieces += [_threat(attack.summary), _results(attack.summary), _claims(attack.summary)]
    pieces += _figures(attack)
    if attack.listening.get("items"):
        judged = Judged("attack", attack.items, attack.summary, attack.listening)
        caution = (
            "Sounds called synthetic reconstruction were computed from a message; mean and deviation are guesses from other utterances."
        )
        pieces += [f'<p class="banner">{escape(caution)}</p>', listen(attack.run.path, judged, drawn=False)]
    if attack.summary:
        pieces += [_utterances(attack.items), _messages(attack)]
    return [*pieces, identity(attack.run, attack.start, attack.model), recipe(attack.run)]


def _threat(summary: Mapping[str, Any]) -> str:
    return section("Threat model", bullets(threat_model(summary["threat_model"])))


def _results(summary: Mapping[str, Any]) -> str:
    pieces = [piece for heading, found in tables(summary) for piece in (_heading(heading), _scores(found))]
    stated = [f"{key}: {value}" for key, value in summary.get("protocol", {}).items()]
    cost = summary["cost"]
    told = f"{cost['messages']:,} messages, {cost['seconds']:,.1f} s and {cost['gradients']:,} gradients of the victim's loss in all; seed "
    notes = [bullets(summary["notes"])] if summary["notes"] else []
    left = cost_of_defences(summary)
    notes += [paragraph(left)] if left is not None else []
    return section(
        "What came out", *filter(None, pieces), *notes, paragraph(f"{told}{summary['seed']}.", "soft"), folded("protocol", bullets(stated))
    )


def _heading(words: str) -> str:
    return f"<h3>{escape(words)}</h3>" if words else ""


def _scores(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return a table of methods by scores with their intervals."""
    names = [name for name in SCORES if any(name in scores for scores in found.values())]
    rows = [[METHODS.get(method, method), *(_cell(name, scores.get(name)) for name in names)] for method, scores in found.items()]
    first = next(estimate for scores in found.values() for estimate in scores.values())
    [over] = [name for name in ("utterances", "messages") if name in first]
    remark = paragraph(f"Over {first[over]:,.0f} {over}; 95 % intervals in brackets.", "soft")
    return table(("", *(SCORES[name] for name in names)), rows) + remark


def _cell(name: str, estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return "–"
    pattern = ".1%" if name in SHARES else ".3g"
    value, low, high = (number(0.0 if abs(estimate[key]) < 1e-9 else estimate[key], pattern) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _claims(summary: Mapping[str, Any]) -> str:
    message = summary["threat_model"]["message"]
    cannot = [
        "That a protocol with weaker messages is safe: an attack that fails here may be the wrong attack.",
        "What other attackers reach: this is one attack with one setting and one seed.",
        "How it is with other weights: leaks change in the course of training.",
    ]
    if message["defences"]:
        cannot.append("What the defence costs in accuracy: strengths must be compared at equal utility, and this is one strength.")
    return section("What this run does not show", bullets(cannot))


def _figures(attack: AttackRun) -> list[str]:
    captions = {
        RECONSTRUCTIONS: "True features and their reconstruction from the message, on one scale of colours: worst, middle, best of some.",
        HEARD: "Who was recognised and what was understood, beside what needs no message; the bound is the truth through the same door.",
        COURSE: "What the attack reported; a low objective is no evidence of a good reconstruction.",
    }
    pictures = [figure(attack.run.path / "figures" / f"{name}.png", captions[name]) for name in figures_of(attack)]
    return [section("Figures", *pictures)] if pictures else []


def _utterances(items: Sequence[Mapping[str, Any]]) -> str:
    heard = any("hypothesis" in item for item in items)
    shown = sorted(items, key=lambda item: (-float(item.get("snr", 0.0)), str(item["id"])))[:MOST_ROWS]
    claimed = any("transcript" in item for item in items)
    header = ["utterance", "speaker", "message", "seconds", "SNR, dB", "identified", "transcript length", "claim", "transcript"]
    rows = []
    for item in shown:
        scores = item.get("scores", {}).get(ATTACK, {})
        length = f"{item['symbols']} of {item['transcript_symbols']}" if "symbols" in item else "–"
        read = item.get("transcript") or "" if claimed else item.get("hypothesis")
        text = transcripts(str(item["reference"]), str(read)) if read is not None else escape(item["reference"])
        claim = ("proved" if item["proved"] else "guess") if item.get("transcript") is not None else "–"
        found = {1.0: "yes", 0.0: "no"}.get(scores.get("identified"), "–")
        rows.append(
            [
                str(item["id"]),
                str(item["speaker"]),
                f"{item['message']}",
                f"{item['seconds']:.1f}",
                number(item.get("snr"), ".1f"),
                found,
                length,
                claim,
                text,
            ]
        )
    words = "What the victim reads in the reconstruction is marked against the transcript." if heard else "Transcripts are the true ones."
    words = "The transcript that the attack claims is marked against the true one." if claimed else words
    listing = table(header, rows, markup=(8,))
    return section("Utterances", folded(f"{len(rows):,} of {len(items):,}, best first", listing), paragraph(words, "soft"))


def _messages(attack: AttackRun) -> str:
    rows = []
    for message in attack.messages[:MOST_ROWS]:
        counts = message.get("counts", {}).get(ATTACK)
        characters = f"{counts['hits']} of {counts['present']} found, {counts['claimed'] - counts['hits']} invented" if counts else "–"
        objective = number(message["objective"], ".3g")
        rows.append(
            [
                message["id"],
                str(len(message["utterances"])),
                objective,
                f"{message['gradients']:,}",
                f"{message['seconds']:,.1f}",
                characters,
            ]
        )
    header = ("message", "utterances", "objective", "gradients", "seconds", "characters")
    total = facts([("attacked messages", f"{len(attack.messages):,}")])
    return section("Messages", total, folded("show messages", table(header, rows)))
