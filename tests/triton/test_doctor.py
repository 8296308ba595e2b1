"""The doctor in front of a real Triton; a dead model is shown to it in test_watch.py."""

from reelspace.serving.doctor.triton import ModelFacts, TritonPatient

from .behind import Behind


def test_a_real_triton_and_its_model_are_found_well_and_a_version_that_is_not_loaded_is_not(behind: Behind) -> None:
    with TritonPatient(behind.triton.http_url) as patient:
        assert patient.check_server().line.startswith("ok    triton server: ")
        assert patient.newest() == {"doubling": "1"}
        findings, facts = patient.check_models([("doubling", "1"), ("doubling", "7"), ("absent", "1")])
    assert [one.level for one in findings] == ["ok", "fail", "fail"]
    assert facts == {"doubling": ModelFacts(None, None)}
