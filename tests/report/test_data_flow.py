from pathlib import Path

from auscult.report import data_flow
from auscult.report.check_record import read_check
from auscult.report.figure import house_style


def test_pipeline_names_the_real_front_end_and_lengths(check_run: Path) -> None:
    stages = data_flow.pipeline(read_check(check_run))
    assert stages[0] == ("samples", "35,840 (34,240 to 39,360)", "16,000 Hz")
    assert stages[1][0].endswith("LogSpectrogram")
    assert stages[1][1:] == ("112 (107 to 123)\n× 257 bins", "50 Hz (20 ms)")
    assert stages[2][1:] == ("51 (49 to 57)", "25 Hz (40 ms)")


def test_margin_counts_repeats(check_run: Path) -> None:
    with house_style():
        _, tables = data_flow.draw(read_check(check_run))
    margins = [row["spare output frames"] for row in tables["margin"]]
    assert margins == [51 - 28, 57 - 32, 49 - 21]  # "letter" has one repeat
    assert [(row["input_frames"], row["output_frames"]) for row in tables["reduction"]] == [(112, 51), (123, 57), (107, 49)]
