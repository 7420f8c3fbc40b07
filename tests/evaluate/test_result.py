import dataclasses
import errno
import fcntl
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from scale_video.evaluate.representations import REPRESENTATIONS
from scale_video.evaluate.result import EvaluationRecord, add_records, merge_records, read_results, write_results

RAW = EvaluationRecord(
    dataset="demo",
    split="1",
    preset="demo",
    backbone="motion3d",
    plan_digest="p0",
    test_plan_digest="p1",
    weights_digest="w0",
    representation="x",
    protocol="knn",
    metric="top1",
    value=0.4,
    ci_low=0.35,
    ci_high=0.45,
    num_train=100,
    num_test=50,
    seed=None,
    checkpoint=None,
    hyperparameters={"k": 20, "temperature": 0.07},
    seconds=0.5,
)
LEARNED = dataclasses.replace(RAW, representation="x+cls", seed=0, checkpoint="runs/demo/last.ckpt", seen=True)


def test_fields_are_those_of_the_file() -> None:
    names = (
        "dataset split preset backbone plan_digest test_plan_digest weights_digest representation protocol metric "
        "value ci_low ci_high num_train num_test seed checkpoint hyperparameters seconds seen note options outcomes "
        "target pretrained_on pretrain_videos forward_digest training"
    )
    assert [field.name for field in dataclasses.fields(EvaluationRecord)] == names.split()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"representation": "y"}, "representation 'y' is none of x, h, cls"),
        ({"protocol": "svm"}, "protocol 'svm' is none of knn, linear, nonlinear, retrieval"),
        ({"metric": "f1"}, "metric 'f1' is none of top1, top5, r@1"),
        ({"metric": "mse", "ci_low": -0.1}, r"mse must not be negative, and have an interval, got 0.4 \(-0.1, 0.45\)"),
        ({"metric": "mse", "ci_high": float("inf")}, "mse must not be negative, and have an interval"),
        ({"metric": "map", "value": 1.1}, r"map must be a fraction with an interval, got 1.1"),
        ({"value": 40.0}, r"top1 must be a fraction with an interval, got 40.0 \(0.35, 0.45\)"),
        ({"ci_low": 0.5}, "top1 must be a fraction"),
        ({"ci_high": float("nan")}, "top1 must be a fraction"),
        ({"seed": 0}, "representation 'x' cannot have a seed, got 0"),
        ({"checkpoint": "a.ckpt"}, "representation 'x' cannot have a checkpoint, got 'a.ckpt'"),
        ({"representation": "x-whitened", "seed": 1}, "representation 'x-whitened' cannot have a seed"),
        ({"representation": "init"}, "representation 'init' must have a seed, got None"),
        ({"representation": "init", "seed": 0, "checkpoint": "a"}, "representation 'init' cannot have a checkpoint"),
        ({"representation": "cls", "seed": 0}, "representation 'cls' must have a checkpoint, got None"),
    ],
)
def test_bad_record(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RAW, **changes)


def test_an_error_may_be_above_one() -> None:
    assert dataclasses.replace(RAW, metric="mse", value=7.0, ci_low=5.0, ci_high=9.0).value == 7.0


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "results.json"
    write_results(path, [LEARNED, RAW])
    assert read_results(path) == [RAW, LEARNED]
    assert json.loads(path.read_text())[0] == dataclasses.asdict(RAW)
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_order_of_records_does_not_matter(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(LEARNED, protocol=protocol, seed=seed)
        for protocol in ("linear", "knn")
        for seed in (2, 0, 1)
    ]
    records += [RAW, dataclasses.replace(RAW, split="2"), dataclasses.replace(RAW, representation="x-bins2")]
    write_results(tmp_path / "a.json", records)
    write_results(tmp_path / "b.json", records[::-1])
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    rows = read_results(tmp_path / "a.json")
    assert [row.split for row in rows] == ["1"] * 8 + ["2"]
    assert [row.protocol for row in rows[:8]] == ["knn"] * 5 + ["linear"] * 3
    order = [REPRESENTATIONS.index(row.representation) for row in rows[:5]]
    assert order == sorted(order)
    assert [row.seed for row in rows[5:8]] == [0, 1, 2]


def test_new_rows_replace_those_of_their_key() -> None:
    better = dataclasses.replace(RAW, value=0.42, seconds=9.0, note="again")
    other_seed = dataclasses.replace(LEARNED, seed=1)
    assert merge_records([RAW, LEARNED], [other_seed, better]) == [better, LEARNED, other_seed]


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "ucf101"},
        {"split": "2"},
        {"preset": "paper"},
        {"backbone": "svt"},
        {"plan_digest": "p2"},
        {"test_plan_digest": "p2"},
        {"weights_digest": "w2"},
        {"representation": "cls"},
        {"protocol": "linear"},
        {"metric": "top5"},
        {"seed": 3},
        {"options": {"k": 5}},
        {"options": {"train_share": 0.1, "share_seed": 0}},
    ],
)
def test_every_part_of_the_key_keeps_rows_apart(change: dict) -> None:
    assert len(merge_records([LEARNED], [dataclasses.replace(LEARNED, **change)])) == 2


def test_metrics_of_one_probe_share_a_file_of_outcomes_and_others_do_not() -> None:
    other = dataclasses.replace(LEARNED, options={"k": 5})
    assert dataclasses.replace(LEARNED, metric="top5").outcomes_name == LEARNED.outcomes_name
    assert len({record.outcomes_name for record in (LEARNED, RAW, other)}) == 3


def test_rows_of_before_there_were_options_are_those_of_the_defaults(tmp_path: Path) -> None:
    row = dataclasses.asdict(RAW)
    del row["options"], row["outcomes"]
    path = tmp_path / "results.json"
    path.write_text(json.dumps([row]))
    assert read_results(path) == [RAW]
    again = dataclasses.replace(RAW, value=0.36)
    add_records(path, [again])
    assert read_results(path) == [again]


def _add_one_by_one(path: Path, splits: range) -> None:
    for split in splits:
        add_records(path, [dataclasses.replace(RAW, split=str(split))])


def test_probes_side_by_side_lose_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "results.json"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add_one_by_one, args=(path, range(n, n + 60))) for n in (0, 100)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert len(read_results(path)) == 120


def test_a_file_system_without_locks_is_said_and_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(file: object, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    add_records(tmp_path / "results.json", [RAW])
    assert read_results(tmp_path / "results.json") == [RAW]
    assert "let one probe at a time write here" in caplog.text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    write_results(path, [RAW])

    def full_disk(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_results(path, [LEARNED])
    assert read_results(path) == [RAW]
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_numbers_that_json_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(tmp_path / "results.json", [dataclasses.replace(RAW, seconds=float("inf"))])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[{", "is damaged, no JSON"),
        (b"\xff\xfe\x00", "is damaged, no JSON"),
        (b"", "is damaged, no JSON"),
        (b'{"a": 1}', "is damaged, it holds no list of records"),
        (b"[7]", "is damaged, record 0: .*mapping"),
        (b'[{"dataset": "demo"}]', "is damaged, record 0: .*missing"),
    ],
)
def test_damaged_file(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_results(path)
    assert str(path) in str(caught.value)
    assert "move it away and run the probes again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("value", "high", "not supported"), ("value", 4, "fraction"), ("extra", 1, "unexpected keyword argument 'extra'")],
)
def test_damaged_record(field: str, value: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    rows = [dataclasses.asdict(RAW), {**dataclasses.asdict(LEARNED), field: value}]
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=f"is damaged, record 1: .*{message}"):
        read_results(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"results\.json"):
        read_results(tmp_path / "results.json")


def test_rows_without_digests_make_way_for_those_with_them() -> None:
    known = dataclasses.replace(RAW, forward_digest="f0", value=0.45)
    assert merge_records([RAW, LEARNED], [known]) == [LEARNED, known]
    init = dataclasses.replace(RAW, representation="init", seed=0)
    sized = dataclasses.replace(init, forward_digest="f0", training="t0")
    assert merge_records([init], [sized]) == [sized]
    other = dataclasses.replace(sized, training="t1")
    assert merge_records([sized], [other]) == [sized, other]
    assert merge_records([known], [dataclasses.replace(known, forward_digest="f1")])[0] == known
