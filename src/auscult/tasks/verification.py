"""Speaker verification: is this the same person? One embedding per recording, judged on trials between recordings.

The one file that knows which cuts are learned from, how they are cropped, which loss compares them and how a trial is scored.
What the reference experiment got wrong cannot be said here: the class count comes from the training speakers, accuracy is free
of the margin, embeddings are keyed by utterance id, the list that chooses checkpoints is made of held-out training speakers, and
speakers that occur on both sides are refused. Every judged split ends in one record per trial, so intervals can resample speakers.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import nn

from auscult.audio.front_ends.log_mel import LogMel
from auscult.corpora.base import resolve
from auscult.data.audit import audit
from auscult.data.audit_audio import Progress
from auscult.data.audit_report import AuditReport
from auscult.data.disjoint import check_disjoint
from auscult.data.embedding_cache import EmbeddingCache
from auscult.data.loading import evaluation_batches
from auscult.data.speaker_cuts import count_by_length, cut_pieces, cuts_of_files, speed_of, with_speeds
from auscult.data.splits import load_splits
from auscult.data.store import AudioStore
from auscult.data.strings import speaker_of
from auscult.data.trials import Trials, generate_trials, read_trials
from auscult.data.verification_batch import NOT_TRAINED, VerificationBatch
from auscult.errors import UserError
from auscult.losses.speaker_loss import SpeakerLoss
from auscult.metrics.calibration import Calibration
from auscult.metrics.detection import PROTOCOL
from auscult.metrics.embedding_scores import cohort_of
from auscult.models.speaker_encoder import SpeakerEncoder
from auscult.recipe import Recipe
from auscult.registry import INJECTED, Component, Deferred, register
from auscult.runs.directory import RunDirectory
from auscult.runs.identity import canonical_hash
from auscult.specification import Specification
from auscult.streams import Streams
from auscult.tasks import verification_check as checking
from auscult.tasks.base import Expectation, Independence, Item, Learned, Loss, Task
from auscult.tasks.speaker_items import embed_batch, stacked
from auscult.tasks.speaker_network import SpeakerNetwork
from auscult.tasks.speaker_start import start_from_run, weights_digest
from auscult.tasks.trial_records import (
    Cohort,
    calibration_of,
    mean_direction,
    summarise_trials,
    trial_alarms,
    trial_intervals,
    trial_records,
)  # fmt: skip

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

FRAME_STEP, FRAME_WINDOW = 0.010, 0.025
"""Seconds; `max_frames` frames of a training crop are counted in these."""
FEWEST_CLASSES = 50
"""Below this one batch of a fresh network, whose embeddings are much alike, strays from the expected first loss by chance."""


@register("task", "verification")
class Verification(Task):
    """Speaker verification.

    Args:
        recipe: supplied by the program.
        loss: a speaker loss; classification losses see every utterance, metric losses compare utterances of a speaker.
        max_frames: length of a training crop, in frames of 10 ms; shorter utterances are repeated.
        speeds: further speeds at which every training speaker becomes a new speaker, such as [0.9, 1.1].
        margin_warm_up: shares of the run's updates at which the margin starts to grow and is whole; [0, 0] has it whole from the start.
        utterance_seconds: a training recording counts as one utterance for every so many seconds, and crops start anywhere in it; null
            counts every recording once.
        pieces: cut recordings of the other splits into pieces of so many seconds, for corpora with one recording per speaker; what a trial
            list names stays whole.
        crops: judge the mean over this many evenly spaced crops of `crop_frames`; 0 judges whole files.
        crop_frames: length of those crops, in frames of 10 ms.
        pairs: most trials made from a split that has no list.
        trials: trial list of the test split, lines "1|0 first second"; null makes trials from its speakers.
        trial_audio: folder the paths of the trial list start from; null looks the ids up among the cuts of the test split.
        as_norm: cohort for normalising scores of the test split: "train", or an .npz file written by `auscult embed`.
        as_norm_top: cohort members nearest to each side that count; 0 takes all.
        select_by: metric of the validation trials that chooses checkpoints; min_cllr looks at every threshold, where the EER of a short
            list moves in steps of a trial.
        baseline: also score means and deviations of a log-mel picture, which no training has touched.
        session_names: whether a session's name means one session in the whole corpus, or only together with its speaker.
        start_from: run directory, or checkpoint of voxceleb_trainer, whose weights the encoder starts with.
    """

    def __init__(
        self,
        recipe: Annotated[Recipe, INJECTED],
        loss: Annotated[Deferred, Component("loss", default="additive_angular_margin", deferred=True)],
        max_frames: Annotated[int, Field(ge=10)] = 200,
        speeds: list[float] = [],  # noqa: B006 (a recipe's default, never changed)
        margin_warm_up: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (0.0, 0.0),
        utterance_seconds: Annotated[float, Field(gt=0)] | None = None,
        pieces: Annotated[float, Field(gt=0)] | None = None,
        crops: Annotated[int, Field(ge=0)] = 0,
        crop_frames: Annotated[int, Field(ge=10)] = 400,
        pairs: Annotated[int, Field(ge=2)] = 100_000,
        trials: str | None = None,
        trial_audio: str | None = None,
        as_norm: str | None = None,
        as_norm_top: Annotated[int, Field(ge=0)] = 300,
        select_by: Literal["min_cllr", "eer", "min_dcf_p01", "min_dcf_p05"] = "min_cllr",
        baseline: bool = True,
        session_names: Literal["corpus", "speaker"] = "corpus",
        start_from: str | None = None,
    ) -> None:
        if not issubclass(loss.cls, SpeakerLoss):
            raise UserError(f'task.loss: "{loss.section["name"]}" is no speaker loss; choose additive_angular_margin, say')
        if margin_warm_up[0] > margin_warm_up[1]:
            raise UserError(f"task.margin_warm_up: {list(margin_warm_up)} ends before it starts; exchange the numbers")
        self.recipe, self.loss_section, self.speeds, self.margin_warm_up = recipe, loss, speeds, margin_warm_up
        self.primary_metric = select_by
        self.start = resolve(start_from) if start_from is not None else None
        sample_rate = recipe.data.sample_rate
        self.crop_samples = crop_length(max_frames, sample_rate)
        self.crops, self.judged_samples = crops, crop_length(crop_frames, sample_rate)
        self.splits = load_splits(recipe)
        self._cuts: dict[str, list[Cut]] = {name: list(cuts) for name, cuts in self.splits.items()}
        if trials is not None and trial_audio is not None:
            self._cuts["test"] = list(cuts_of_files(read_trials(resolve(trials)).ids, resolve(trial_audio)))
        check_disjoint(self._cuts, sessions=session_names == "corpus")
        self.trial_list = None if trials is None else resolve(trials)
        self._cut_up(utterance_seconds, pieces)
        labels = tuple(sorted({speaker_of(cut) for cut in self._cuts.get("train", ())}))
        self.specification = Specification("verification", sample_rate, labels)
        self.classes = {label: number for number, label in enumerate(labels)}
        self.data_hash = canonical_hash([self.splits.hash, None if self.start is None else weights_digest(self.start)])
        self.store = AudioStore(sample_rate, recipe.data.cache_megabytes)
        self.augmentations = [section.build() for section in recipe.data.augment]
        self.pairs, self.pieces, self.cohort_name, self.cohort_top = pairs, pieces, as_norm, as_norm_top or None
        self.picture = LogMel(sample_rate, normalise="none") if baseline else None
        self.cohort: Cohort | None = None
        self.calibration: Calibration | None = None
        self.cache: EmbeddingCache | None = None
        self._trials: dict[str, Trials] = {}
        self._criterion: SpeakerLoss | None = None

    def _cut_up(self, utterance_seconds: float | None, pieces: float | None) -> None:
        whole = {"train"} if self.trial_list is None else {"train", "test"}  # a list names whole recordings
        for name, cuts in self._cuts.items():
            if name not in whole and pieces is not None:
                self._cuts[name] = cut_pieces(cuts, pieces)
        if "train" in self._cuts:
            counted = self._cuts["train"]
            if utterance_seconds is not None:
                counted = count_by_length(counted, utterance_seconds)
            self._cuts["train"] = with_speeds(counted, self.speeds)

    def build_model(self) -> SpeakerNetwork:
        """Construct encoder and loss; the loss has one class per training speaker."""
        encoder = self.recipe.model.build(specification=self.specification, sample_rate=self.specification.sample_rate)
        if not isinstance(encoder, SpeakerEncoder):
            raise UserError(f'model: "{self.recipe.model.name}" is no speaker encoder; choose small_tdnn or resnetse34v2, say')
        self._criterion = self.loss_section.build(dimensions=encoder.dimensions, classes=self.specification.classes)
        return SpeakerNetwork(encoder, self._criterion)

    def initialise(self, model: nn.Module) -> list[str]:
        """Take over the weights of `start_from`, where the recipe names one."""
        return [] if self.start is None else start_from_run(model, self.start, self.specification.labels)

    def cuts(self, split: str) -> CutSet:
        """Return the cuts of a split, cut into pieces and played at other speeds as the recipe says."""
        from lhotse import CutSet

        if split not in self._cuts:
            return self.splits[split]  # says what there is
        return CutSet.from_cuts(self._cuts[split])

    def audit(self, audio: bool = True, progress: Progress | None = None) -> AuditReport:
        """Audit every split's recordings."""
        return audit(self.splits, sample_rate=self.specification.sample_rate, audio=audio, progress=progress)

    def collate(self, cuts: Sequence[Cut], random: Sequence[np.random.Generator] | None = None) -> VerificationBatch:
        """Read samples: random crops by speaker for training, whole files or evenly spaced crops for judging.

        A speaker who lacks an utterance (it failed to load, or is quarantined) has another one cropped twice.

        Raises:
            AudioError: a recording cannot be read.
        """
        if random is None:
            return self._judged_batch(cuts)
        generators: dict[str, np.random.Generator] = {}
        groups: dict[str, list[Cut]] = {}
        for cut, generator in zip(cuts, random, strict=True):
            groups.setdefault(speaker_of(cut), []).append(cut)
            generators.setdefault(cut.id, generator)  # the same utterance twice in a batch: two draws from one stream
        size = self.recipe.data.batch.utterances or 1
        width = size if self.recipe.data.batch.speakers is not None else max(map(len, groups.values()))
        filled = {speaker: [group[place % len(group)] for place in range(width)] for speaker, group in groups.items()}
        chosen = [cut for group in filled.values() for cut in group]
        crops = (self._crop(cut, generators[cut.id]) for cut in chosen)
        return VerificationBatch.fill(crops, self.crop_samples, [self.classes[one] for one in filled], [cut.id for cut in chosen])

    def _crop(self, cut: Cut, random: np.random.Generator) -> np.ndarray:
        speed, rate = speed_of(cut), self.specification.sample_rate
        wanted = round(self.crop_samples * speed)
        start = int(random.integers(max(0, round(cut.duration * rate) - wanted) + 1))
        samples = self.store.stretch(cut, start, wanted)
        if speed != 1:
            samples = at_speed(samples, speed, rate, self.crop_samples)
        for augmentation in self.augmentations:
            samples = augmentation(samples, rate, random)
        return samples if len(samples) == self.crop_samples else np.resize(samples, self.crop_samples)

    def _judged_batch(self, cuts: Sequence[Cut]) -> VerificationBatch:
        rows = [self._judged(self.store.samples(cut)) for cut in cuts]
        speakers = [self.classes.get(speaker_of(cut), NOT_TRAINED) for cut in cuts]
        return VerificationBatch.pad(rows, speakers, [cut.id for cut, row in zip(cuts, rows, strict=True) for _ in row])

    def _judged(self, samples: np.ndarray) -> list[np.ndarray]:
        """Return the whole file, or crops evenly spaced over it; a shorter file is repeated to the length of a crop."""
        if not self.crops:
            return [samples]
        if len(samples) < self.judged_samples:
            samples = np.resize(samples, self.judged_samples)
        starts = np.linspace(0, len(samples) - self.judged_samples, self.crops).astype(int)
        return [samples[start : start + self.judged_samples] for start in starts.tolist()]

    def prepare_update(self, model: nn.Module, update: int, updates: int) -> None:
        """Set the margin in effect: none before the warm-up, whole after it, linear in between."""
        set_margin = getattr(getattr(model, "criterion", None), "set_margin", None)
        if set_margin is not None:
            begin, end = (share * updates for share in self.margin_warm_up)
            set_margin(1.0 if update >= end else max(0.0, (update - begin) / (end - begin)))

    def loss(self, model: nn.Module, batch: VerificationBatch) -> Loss:
        """Loss over the batch's utterances; accuracy is margin-free."""
        embeddings = model(batch.samples.flatten(0, 1), batch.sample_lengths.flatten()).unflatten(0, batch.sample_lengths.shape)
        output = model.criterion(embeddings, batch.speakers)  # type: ignore[operator]
        return Loss(output.loss, output.count, {output.accuracy_name: float(output.correct.float().mean()), **output.terms})

    def expected_initial_loss(self, batch: VerificationBatch) -> Expectation | None:
        """Return the loss of embeddings of random direction, from 50 speakers in a batch on.

        A fresh network's embeddings are much alike, so each speaker of the batch is one draw: a check, which learns one beside another,
        strays by a fifth.
        """
        if self._criterion is None or len(batch.speakers) < FEWEST_CLASSES:
            return None
        expected = self._criterion.initial(*batch.sample_lengths.shape)
        return None if expected is None else Expectation(expected.value, tolerance=0.05, formula=expected.formula)

    def single(self, cut: Cut) -> VerificationBatch:
        """Return two crops of an utterance and two of another speaker's, without augmentation."""
        both = [cut, checking.partner(cut, self._cuts["train"])]
        crops = [checking.two_crops(self.store.samples(one)) for one in both]
        return VerificationBatch.pad(crops, [self.classes[speaker_of(one)] for one in both], [one.id for one in both for _ in range(2)])

    def learned(self, model: nn.Module, batch: VerificationBatch) -> Learned:
        """Return who an utterance was taken for; right where the nearest class, free of the margin, is its speaker."""
        return checking.learned(model, batch, self.specification.labels, self.specification.sample_rate)

    def describe(self, model: nn.Module, batch: VerificationBatch) -> dict[str, Any]:
        """Return speaker, lengths and sizes."""
        return checking.describe(model, batch, self.specification.labels, self.specification.sample_rate)

    def diagnose(self, model: nn.Module, batch: VerificationBatch) -> dict[str, float]:
        """Return margin-free accuracy, and cosines to the right and to the nearest wrong speaker."""
        return checking.diagnose(model, batch)

    def arrays(self, model: nn.Module, batch: VerificationBatch) -> dict[str, np.ndarray]:
        """Return input, features and cosines to every speaker."""
        return checking.arrays(model, batch, self.specification.labels, self.specification.sample_rate)

    def independence(self, model: nn.Module, batch: VerificationBatch) -> Independence:
        """Return the influence of utterances on one another's embeddings."""
        return checking.independence(model, batch)

    def use_run(self, run: Path, model: nn.Module) -> None:
        """Take over the calibration that the run's validation trials give, and the embeddings it has computed before."""
        directory = RunDirectory.open(run)
        try:
            self.calibration = calibration_of(directory.read_items("validation"))
        except UserError:  # no validation split, or one of a single class: scores stay uncalibrated, and the metrics' names say so
            self.calibration = None
        self.cache = EmbeddingCache(run / "cache", canonical_hash([self.recipe.model.to_dict(), self.crops, weights_digest(model)]))

    def prepare_judging(self, model: nn.Module, split: str, device: Any) -> None:
        """Embed the cohort, where scores of this split are normalised."""
        self.cohort = None
        if split != "test" or self.cohort_name is None:
            return
        if self.cohort_name != "train":
            self.cohort = Cohort(read_cohort(resolve(self.cohort_name)), self.cohort_top)
            return
        cuts, batching = [cut for cut in self._cuts["train"] if speed_of(cut) == 1], self.recipe.data.batch
        items: list[Item] = []
        for batch in evaluation_batches(cuts, self.collate, seconds=batching.seconds, items=batching.judged_items):
            items += self.judge(model, batch.to(device))
        speakers = {cut.id: speaker_of(cut) for cut in cuts}
        embeddings = cohort_of(mean_direction(stacked(items, "embedding")), [speakers[item["id"]] for item in items])
        self.cohort = Cohort(embeddings, self.cohort_top)

    def judge(self, model: nn.Module, batch: VerificationBatch) -> list[Item]:
        """Return one record per recording: how long, and its embeddings (packed; they become scores of trials in `conclude`)."""
        return embed_batch(model, batch, self.specification.sample_rate, self.picture, self.cache)

    def conclude(self, split: str, items: Sequence[Item]) -> list[Item]:
        """Return one record per trial of the split."""
        if self.cache is not None:
            self.cache.save()
        speakers = {cut.id: speaker_of(cut) for cut in self._cuts[split]}
        return trial_records(self.trials(split), items, speakers, self.cohort, self.calibration)

    def trials(self, split: str) -> Trials:
        """Return the trials of a split: those of its list, or made from its speakers, the same for every model and seed of training."""
        if split not in self._trials:
            cuts = self._cuts[split]
            ids = [cut.id for cut in cuts]
            if split == "test" and self.trial_list is not None:
                self._trials[split] = read_trials(self.trial_list, ids)
            else:
                random = Streams(0).generator("trials", split)
                self._trials[split] = generate_trials([speaker_of(cut) for cut in cuts], ids, random, self.pairs)
        return self._trials[split]

    def summarise(self, items: Sequence[Item]) -> dict[str, float]:
        """Return EER, detection costs and Cllr, also of normalised scores and of the untrained baseline where there are any."""
        return summarise_trials(items)

    def intervals(self, items: Sequence[Item]) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals; speakers are resampled on both sides of the trials where they are known."""
        return trial_intervals(items)

    def alarms(self, items: Sequence[Item]) -> list[str]:
        """Say what is impossible or suspicious about the scores."""
        return trial_alarms(items)

    def protocol(self) -> dict[str, str]:
        """Say how trials were made and scored."""
        made = f"made from the speakers of the split, at most {self.pairs}, drawn by speaker and kind"
        if self.pieces is not None:
            made += f"; recordings are cut into pieces of {self.pieces:g} s, so target trials share a session"
        seconds = self.judged_samples / self.specification.sample_rate
        normalised = f"AS-norm of the test split, cohort {self.cohort_name}, top {self.cohort_top or 'all'}"
        fitted = "logistic on score and durations, fitted on the validation trials of the run"
        return {
            "trials": made if self.trial_list is None else f"list {self.trial_list.name} for the test split; otherwise {made}",
            "score": f"minus the mean distance between {self.crops} crops of {seconds:.3f} s" if self.crops else "cosine of whole files",
            "normalisation": "none" if self.cohort_name is None else normalised,
            "calibration": "none" if self.calibration is None else fitted,
            "untrained": "none" if self.picture is None else "cosine of mean and deviation of 80 log-mel bins",
            "figures": PROTOCOL,
        }


def crop_length(frames: int, sample_rate: int) -> int:
    """Return the samples that give so many frames of 25 ms every 10 ms.

    >>> crop_length(200, 16000)
    32240
    """
    return round(sample_rate * (frames * FRAME_STEP + FRAME_WINDOW - FRAME_STEP))


def at_speed(samples: np.ndarray, speed: float, sample_rate: int, length: int) -> np.ndarray:
    """Return samples played `speed` times as fast, (length,) float32; pitch and formants move along."""
    import soxr

    played = np.asarray(soxr.resample(samples, sample_rate * speed, sample_rate, quality="MQ"), np.float32)
    return np.resize(played, length)


def read_cohort(path: Path) -> np.ndarray:
    """Return the cohort in an .npz file of `auscult embed`: (speakers, dimensions), each file a speaker unless it names them.

    Raises:
        UserError: not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            embeddings = np.asarray(held["embeddings"], np.float32)
            speakers = held["speakers"].tolist() if "speakers" in held else [str(row) for row in range(len(embeddings))]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: holds no embeddings ({error}); write it with: auscult embed RUN *.wav -o {path.name}") from error
    return cohort_of(embeddings, speakers)
