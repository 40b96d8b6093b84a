"""Controls are what they claim to be, and no table is made without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auscult.errors import UserError
from auscult.metrics.reconstruction import CEILING, feature_scores
from auscult.metrics.reconstruction_controls import CONTROLS, controls, reconstruction_table


def pool(count: int = 12) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    made = [random.normal(size=(20 + number, 5)) + np.arange(5) for number in range(count)]
    return [(one - one.mean()) / one.std() for one in made]


def rows(attack: float = 0.5, seeds: int = 1) -> list[dict[str, Any]]:
    """A table of controls and an attack that shrinks the truth by `attack`."""
    features, found = pool(), []
    for index, truth in enumerate(features):
        tried = controls(features, index, np.random.default_rng(index)) | {"attack": truth * attack}
        for name, one in tried.items():
            scores: dict[str, Any] = feature_scores(truth, one).record() | {"word_error_rate": (float(index % 3), 4.0)}
            row = {"method": name, "id": f"u{index}", "speaker": f"s{index % 4}", "scores": scores}
            found += [row] * seeds
    return found


def test_controls_have_the_length_of_the_truth() -> None:
    features = pool()
    for index, truth in enumerate(features):
        made = controls(features, index, np.random.default_rng(index))
        assert tuple(made) == CONTROLS
        assert all(one.shape == truth.shape for one in made.values())


def test_the_corpus_mean_knows_nothing_of_the_utterance_and_the_other_is_another() -> None:
    features = pool()
    features[4] = features[4] + 1000.0
    for seed in range(30):
        made = controls(features, 4, np.random.default_rng(seed))
        assert made["corpus_mean"].max() < 10
        assert made["random_other"].max() < 10
    assert made["true_input"].min() > 900
    assert not made["zero"].any()


def test_a_short_other_utterance_is_repeated_not_filled_with_nothing() -> None:
    other = np.array([[1.0, 2.0], [3.0, 4.0]])
    made = controls([np.zeros((5, 2)), other], 0, np.random.default_rng(0))
    assert made["random_other"].tolist() == [[1, 2], [3, 4], [1, 2], [3, 4], [1, 2]]


def test_the_table_orders_controls_and_attack() -> None:
    table = reconstruction_table(rows(), replicates=200)
    snr = {method: scores["snr"].value for method, scores in table.items()}
    assert snr["zero"] == pytest.approx(0.0, abs=1e-9)
    assert snr["true_input"] == CEILING
    assert snr["attack"] == pytest.approx(6.02, abs=0.01)
    assert snr["corpus_mean"] > 0  # the common shape of speech is worth something before any gradient is seen
    assert all(scores["snr"].low <= scores["snr"].value <= scores["snr"].high for scores in table.values())
    assert table["attack"]["mae"].utterances == 12


def test_pairs_are_ratios_of_sums() -> None:
    found = reconstruction_table(rows(), replicates=50)["attack"]["word_error_rate"]
    assert found.value == pytest.approx(sum(index % 3 for index in range(12)) / 48)


def test_runs_with_other_seeds_are_no_further_utterances() -> None:
    """Three seeds of an attack narrow nothing: its utterances and speakers are as many as before."""
    one, three = (reconstruction_table(rows(seeds=seeds), replicates=200) for seeds in (1, 3))
    for method in one:
        for name, estimate in one[method].items():
            assert three[method][name] == pytest.approx(estimate)


def test_a_table_without_its_controls_is_refused() -> None:
    with pytest.raises(UserError, match="lacks the controls zero, corpus_mean"):
        reconstruction_table([row for row in rows() if row["method"] not in ("zero", "corpus_mean")])


def test_leaving_out_the_utterances_on_which_it_failed_is_refused() -> None:
    chosen = [row for row in rows() if not (row["method"] == "attack" and row["id"] == "u3")]
    with pytest.raises(UserError, match=r"attack and zero are not of the same utterances \(1 differ, first u3\)"):
        reconstruction_table(chosen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": {"snr": 1.0}}, "attack on u11 has other scores than the first row"),
        ({"speaker": None}, "some rows of attack name their speaker"),
        ({"scores": rows()[0]["scores"] | {"mae": float("nan")}}, "mae of attack on u11 is not finite"),
    ],
)
def test_bad_rows_are_named(change: dict[str, Any], message: str) -> None:
    made = rows()
    made[-1] = made[-1] | change
    with pytest.raises(UserError, match=message):
        reconstruction_table(made, replicates=10)


def test_a_pool_of_one_has_no_controls() -> None:
    with pytest.raises(UserError, match="at least one other utterance"):
        controls([np.zeros((2, 2))], 0, np.random.default_rng(0))
    with pytest.raises(UserError, match="2 and of 3 bins"):
        controls([np.zeros((2, 2)), np.zeros((2, 3))], 0, np.random.default_rng(0))
