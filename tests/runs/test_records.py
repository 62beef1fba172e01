"""records.json: the keys that others read, in their order, and nothing that is not known."""

import json

import pytest

from nogan.inflection import Verdict, make_detector
from nogan.plan import build_plan
from nogan.runs.records import NotedVerdict, PhaseRecord, final_metrics
from nogan.runs.run_folder import RunFolder

# As a run of 0.1 wrote it.
GAN = {
    "name": "gan@1",
    "kind": "gan",
    "cycle": 1,
    "steps": 40,
    "seconds": 7.5,
    "probe_seconds": 1.25,
    "verdict": {"inflection": 20, "step": 33, "detector": "combined", "reason": "it rose", "action": "stop"},
    "end": "inflection",
    "critic_steps": 25,
    "generator_steps": 15,
    "rolled_back_to": 16,
    "metrics": {"psnr": 21.5},
}
CRITIC = {
    **{"name": "c1@1", "kind": "critic", "cycle": 1, "steps": 9, "seconds": 1.0, "probe_seconds": 0.5},
    **{"end": "complete", "critic": {"loss": 0.5, "accuracy": 0.75}},
}


@pytest.mark.parametrize("values", [GAN, CRITIC])
def test_a_record_is_written_as_it_was_read(values):
    written = PhaseRecord.from_dict(values).to_dict()
    assert written == values and list(written) == list(values)


def test_what_is_not_known_yet_is_left_out(smallest):
    record = PhaseRecord.begin(build_plan(smallest())[-1])
    assert list(record.to_dict()) == ["name", "kind", "cycle", "steps", "seconds", "probe_seconds"]
    assert record.chosen is None
    record.verdict = NotedVerdict.of(Verdict(3, "why", 5, "budget", 1.0), "mark")
    record.steps, record.end = 8, "complete"
    assert record.to_dict()["verdict"]["action"] == "mark" and record.chosen == 8


def test_a_run_folder_gives_its_records_back(tmp_path):
    run = RunFolder(tmp_path)
    assert not run.has_ended and run.records() == [] and final_metrics(run.records()) == {}
    records = [PhaseRecord.from_dict(values) for values in (CRITIC, GAN)]
    run.write_records(records)
    assert run.has_ended and run.records() == records
    assert json.loads((tmp_path / "records.json").read_text()) == [CRITIC, GAN]
    assert final_metrics(reversed(run.records())) == {"psnr": 21.5}, "a critic phase has none"
    run.forget_end()
    assert not run.has_ended


def test_no_inflection_point_is_seen_before_it_is_reached():
    detector = make_detector("probe", total_steps=3)
    for step in range(4):  # snapshots after 0, 1, 2 and 3 batches, each better than the one before
        if step:
            detector.update(step - 1, 0.5)
        assert detector.measured(step, {"merit": step - 4.0, "chroma_fd": 90.0 - step}) is None
    verdict = NotedVerdict.of(detector.finish(), "stop")
    assert (verdict.inflection, verdict.seen_at) == (3, 3)
