"""Decode every media file once: samples into shards, what cannot be decoded into quarantine with its reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from reelspace.core.artifacts import Artifact, open_artifact
from reelspace.core.captions import parse_caption
from reelspace.core.digest import code_digest
from reelspace.core.errors import InternalError, UserError
from reelspace.core.progress import progress
from reelspace.core.quarantine import Ledger
from reelspace.core.settings import PLACE, Settings, identity, read
from reelspace.core.steps import StepRun, run_step
from reelspace.media.bad_media import Reason
from reelspace.media.job import TASK, Job, Packed, Refused, read_answer
from reelspace.media.pool import Done, PoolSettings, WorkerPool
from reelspace.media.sample import Words
from reelspace.media.shards import IndexRow, Row, ShardWriter
from reelspace.media.spec import FrameSpec
from reelspace.steps.known_samples import NOTHING, KnownSamples, known_samples

CODE_ROOTS = ("reelspace.media.worker", "reelspace.media.job")
_S3 = "s3://"


class MediaSettings(Settings):
    """What is taken of every media file, and what is tolerated."""

    frames: FrameSpec = Field(FrameSpec(), description="Frames and sound of a sample.")
    jpeg_quality: int = Field(90, ge=30, le=100, description="Quality of the stored frames, 30 to 100.")
    max_text_chars: int = Field(2000, ge=1, le=100_000, description="The author's words are cut behind this many characters.")
    shard_mib: int = Field(64, ge=1, le=1 << 14, description="Size at which a shard is closed, in MiB.")
    pool: PoolSettings = Field(PoolSettings(), description="The decoding processes.")
    previous: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Artifact id of earlier shards, whose samples are taken where file, words, settings and code are the same; what comes "
        "out is the same with and without.",
        json_schema_extra=PLACE,
    )
    max_bad_ratio: float = Field(
        0.05, ge=0, le=1, description="Share of files that may be bad before the step refuses the input.", json_schema_extra=PLACE
    )


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the tables: a media file with its author's words; no sha256 if the file was not there when it was listed."""

    words: Words
    uri: str
    sha256: str | None
    size_bytes: int


def run(tables: str, media: str, shards: str, media_root: str, settings: str) -> None:
    """Write the artifact `shards`: the archives, index.parquet, ledger.json and quarantine/.

    Args:
        media_root: the directory or `s3://bucket/prefix` that relative uris start from; where bytes lie is not part of the key,
            their hashes are.

    Raises:
        UserError: nothing can be decoded, more than max_bad_ratio of the files are bad, or 100 in a row.
    """
    parsed = read(MediaSettings, settings)
    run_step(
        "preprocess_media",
        __name__,
        settings=parsed,
        inputs={"tables": tables, "media": media},
        outputs={"shards": shards},
        body=lambda run: _preprocess(run, media_root, parsed, _known(run, parsed)),
        code_roots=CODE_ROOTS,
        places=(media_root, f"max_bad_ratio={parsed.max_bad_ratio:g}"),
    )


def _known(run: StepRun, settings: MediaSettings) -> KnownSamples:
    if settings.previous is None:
        return NOTHING
    return known_samples(open_artifact(run.store, settings.previous), identity(settings), code_digest(__name__, CODE_ROOTS))


def author_text(caption: str, cover_text: str | None, max_chars: int) -> str:
    """Give the author's words without hashtags: the caption, then what the cover says beyond it."""
    said, shown = parse_caption(caption).text, parse_caption(cover_text or "").text
    return (said if shown in said else f"{said} {shown}".strip())[:max_chars].rstrip()


def read_works(tables: Artifact, media: Artifact, max_text_chars: int) -> list[Work]:
    """Join the table of works with the list of their media files, by rising video id."""
    videos = _read_parquet(tables, "videos.parquet")
    listed = _read_parquet(media, "media.parquet")
    files = {row["video_id"]: row for row in listed.to_pylist()}
    works = []
    for row in videos.select(["video_id", "caption", "cover_text", "created_at"]).to_pylist():
        file = files.get(row["video_id"])
        if file is None:
            raise InternalError(f"media.parquet has no row for video {row['video_id']}")
        text = author_text(row["caption"], row["cover_text"], max_text_chars)
        words = Words(row["video_id"], text, row["created_at"].isoformat())
        works.append(Work(words, file["uri"], None if file["missing"] else file["sha256"], file["size_bytes"] or 0))
    return sorted(works, key=lambda work: work.words.video_id)


def _preprocess(run: StepRun, media_root: str, settings: MediaSettings, known: KnownSamples) -> Mapping[str, object]:
    works = read_works(run.inputs["tables"], run.inputs["media"], settings.max_text_chars)
    writer = ShardWriter(run.state / "shards", settings.shard_mib << 20, run.save_state)
    ledger = Ledger(settings.max_bad_ratio)
    num_resumed = len(writer.rows)
    with progress(len(works), "decode media") as bar:
        for work, row in zip(works, writer.rows, strict=False):
            _note(ledger, work, row)
        bar.advance(num_resumed)
        rest = works[num_resumed:]
        is_known = [known.has(work.words, work.sha256) for work in rest]
        for work, answer in zip(rest, _samples(rest, is_known, media_root, settings, known), strict=True):
            _note(ledger, work, _write(writer, work, answer))
            bar.advance()
    writer.close()
    _check(ledger, len(works))
    writer.publish(run.output("shards"))
    ledger.write(run.output("shards"))
    counts = {
        "in": len(works),
        "out": ledger.num_out,
        "quarantined": ledger.num_quarantined,
        "resumed": num_resumed,
        "known": sum(is_known),
    }
    return {**counts, **_figures(writer)}


def _samples(
    works: Sequence[Work], is_known: Sequence[bool], media_root: str, settings: MediaSettings, known: KnownSamples
) -> Iterator[Packed | Refused]:
    """Give one answer per work, in order; what is not known yet is decoded."""
    decoded = _decode([work for work, has in zip(works, is_known, strict=True) if not has], media_root, settings)
    for work, has in zip(works, is_known, strict=True):
        yield known.sample(work.words.video_id) if has else next(decoded)
    # Let the decoding processes end.
    next(decoded, None)


def _decode(works: Sequence[Work], media_root: str, settings: MediaSettings) -> Iterator[Packed | Refused]:
    """Give one answer per work, in order; workers start only if there is something to decode."""
    present = [work for work in works if work.sha256 is not None]
    if not present:
        yield from (_missing(work) for work in works)
        return
    with WorkerPool(TASK, settings.pool) as pool:
        answers = pool.map(_job(work, media_root, settings).payload() for work in present)
        for work in works:
            if work.sha256 is None:
                yield _missing(work)
                continue
            answer = next(answers)
            yield read_answer(answer.data) if isinstance(answer, Done) else Refused(answer.reason, answer.detail)


def _job(work: Work, media_root: str, settings: MediaSettings) -> Job:
    assert work.sha256 is not None
    uri = work.uri if work.uri.startswith((_S3, "/")) else f"{media_root.rstrip('/')}/{work.uri}"
    return Job(uri, work.sha256, work.words, settings.frames, settings.jpeg_quality)


def _missing(work: Work) -> Refused:
    return Refused(Reason.MISSING_FILE, f"no file at {work.uri} when it was listed")


def _write(writer: ShardWriter, work: Work, answer: Packed | Refused) -> Row:
    if isinstance(answer, Packed):
        return writer.add(work.words, answer)
    return writer.refuse(work.words.video_id, answer)


def _note(ledger: Ledger, work: Work, row: Row) -> None:
    if row.video_id != work.words.video_id:
        raise InternalError(f"the shards hold video {row.video_id} where {work.words.video_id} belongs: delete the state of this step")
    if isinstance(row, IndexRow):
        ledger.accept(row.video_id)
    else:
        ledger.reject(row.video_id, row.refused, row.detail, work.sha256 or "", (0, work.size_bytes))


def _check(ledger: Ledger, num_in: int) -> None:
    if not ledger.num_out:
        first = next(iter(ledger.bad_items), None)
        why = f"; the first is video {first.id}: {first.reason}, {first.detail}" if first else ""
        raise UserError(f"none of the {num_in} media files can be decoded{why}")
    ledger.finish(num_in)


def _figures(writer: ShardWriter) -> dict[str, int]:
    rows = writer.index_rows
    return {"num_shards": len({row.shard for row in rows}), "size_bytes": sum(row.length for row in rows)}


def _read_parquet(artifact: Artifact, name: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(artifact.read(name)))
