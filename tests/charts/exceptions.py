"""Where a chart may differ from a policy or from a check of Checkov, and why; one that nothing needs any more fails a test."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Exemption:
    """One difference that is meant.

    Fields:
        check: the function of the policy, or Checkov's identifier.
        scenario: a pattern for `chart/scenario`, such as `vector-search/*`.
        finding: a pattern for what was found, as a test prints it: `Deployment/r-gateway*`.
        reason: why it is right nevertheless, in one sentence.
    """

    check: str
    scenario: str
    finding: str
    reason: str

    def covers(self, scenario: str, check: str, finding: str) -> bool:
        """Tell whether a finding is meant."""
        return check == self.check and fnmatchcase(scenario, self.scenario) and fnmatchcase(finding, self.finding)


_THROTTLED = "A server that its CPU limit stops in the middle of a request misses its deadline; requests share the CPU fairly."
_TAG = "A tag that is never moved is the default, so that a release installs from any mirror; `pin_images` refuses the others."
_PULL = "With a digest or a fixed tag, asking the registry at each start only makes pods depend on it."
_ENDS = "A pod of `helm test` runs once and ends: nobody sends it requests, and it is not restarted."
_OF_RUNS = "The pods it selects are those of runs, which Argo and Trainer make; the chart brings none."
_CHOSEN = "OpenShift gives each namespace users of its own and refuses a fixed one; `runAsNonRoot` holds all the same."
_OF_ALL_NAMESPACES = "A runtime of the whole cluster cannot name the account of one namespace; the launcher's TrainJob names it."

EXEMPTIONS: tuple[Exemption, ...] = (
    Exemption("CKV_K8S_11", "*", "*", _THROTTLED),
    Exemption("CKV_K8S_43", "*", "*", _TAG),
    Exemption("CKV_K8S_15", "*", "*", _PULL),
    Exemption("CKV_K8S_8", "*", "Pod/*", _ENDS),
    Exemption("CKV_K8S_9", "*", "Pod/*", _ENDS),
    Exemption("run_as_high_user", "*/airgap", "*", _CHOSEN),
    Exemption("CKV_K8S_40", "*/airgap", "*", _CHOSEN),
    Exemption("have_own_account", "pipelines/*", "ClusterTrainingRuntime/*", _OF_ALL_NAMESPACES),
    Exemption("police_existing_pods", "pipelines/*", "NetworkPolicy/r-pipelines-*", _OF_RUNS),
)


def say(found: Sequence[str]) -> None:
    """Fail with every finding on a line of its own."""
    assert not found, "\n".join(["", *found])


def unexpected(scenario: str, found: Iterable[tuple[str, str]], exemptions: Sequence[Exemption] = EXEMPTIONS) -> list[str]:
    """The findings (check, text) of a scenario that no exemption covers."""
    return [f"{check}: {finding}" for check, finding in found if not any(one.covers(scenario, check, finding) for one in exemptions)]
