"""Embeddings are found again by what they were computed from, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auscult.data.embedding_cache import EmbeddingCache


def test_found_again_by_samples_and_by_who_made_them(tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 100, dtype=np.float32)
    key, embedding = EmbeddingCache.key(samples), np.arange(3, dtype=np.float32)
    cache = EmbeddingCache(tmp_path, "weights1")
    assert cache.get(key) is None
    cache.put(key, embedding)
    cache.save()
    again = EmbeddingCache(tmp_path, "weights1")
    np.testing.assert_array_equal(again.get(key), embedding)
    assert EmbeddingCache(tmp_path, "weights2").get(key) is None
    changed = samples.copy()
    changed[50] += 1e-4
    assert again.get(EmbeddingCache.key(changed)) is None
    assert EmbeddingCache.key(samples) != EmbeddingCache.key(samples.reshape(2, 50))  # crops are not the whole


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "weights")
    cache.put("key", np.ones(2, np.float32))
    cache.save()
    cache.path.write_bytes(cache.path.read_bytes()[:40])
    damaged = EmbeddingCache(tmp_path, "weights")
    assert damaged.get("key") is None
    damaged.put("key", np.ones(2, np.float32))
    damaged.save()
    assert EmbeddingCache(tmp_path, "weights").get("key") is not None


def test_nothing_new_is_nothing_written(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path / "new", "weights").save()
    assert not (tmp_path / "new").exists()
