"""What a watcher saw and did, in Prometheus' text format."""

from collections import Counter
from collections.abc import Sequence

from reelspace.serving.watch.liveness import Outcome


class Tally:
    """The counters of one watcher, and which models live."""

    def __init__(self, models: Sequence[str]) -> None:
        self._looks: Counter[tuple[str, str]] = Counter()
        self._repairs: Counter[tuple[str, str]] = Counter()
        self._models = tuple(models)
        self._lives: dict[str, bool] = {}  # nothing of a model that is being loaded for the first time
        self._triton_answers = False
        self.given_up: frozenset[str] = frozenset()
        for model in models:
            # A series that begins with its first failure hides that failure from `increase`.
            self._repairs.update({(model, "repaired"): 0, (model, "failed"): 0})

    def looked(self, model: str, outcome: Outcome) -> None:
        """Count one look at one version."""
        self._looks[model, outcome] += 1
        self._triton_answers = outcome is not Outcome.AWAY

    def repaired(self, model: str, *, helped: bool) -> None:
        """Count one repair, by whether Triton did it."""
        self._repairs[model, "repaired" if helped else "failed"] += 1

    def lives(self, model: str, lives: bool) -> None:
        """Keep whether a model lives."""
        self._lives[model] = lives

    @property
    def unready(self) -> list[str]:
        """Name the models that do not answer, all of them where Triton does not."""
        return [model for model in self._models if not (self._triton_answers and self._lives.get(model, False))]

    def text(self) -> str:
        """Write everything."""
        looks = [(f'{{model="{model}",outcome="{outcome}"}}', number) for (model, outcome), number in sorted(self._looks.items())]
        repairs = [(f'{{model="{model}",outcome="{outcome}"}}', number) for (model, outcome), number in sorted(self._repairs.items())]
        lives = [(f'{{model="{model}"}}', int(one)) for model, one in sorted(self._lives.items())]
        return "".join(
            [
                _family("reelspace_model_looks_total", "counter", "Looks at a version of a model by what they found", looks),
                _family("reelspace_model_repairs_total", "counter", "Repairs of a model by what became of them", repairs),
                _family("reelspace_model_up", "gauge", "Whether a model answers", lives),
                _family("reelspace_triton_up", "gauge", "Whether Triton answers", [("", int(self._triton_answers))]),
            ]
        )


def _family(name: str, kind: str, what: str, samples: Sequence[tuple[str, int]]) -> str:
    return "".join([f"# HELP {name} {what}\n# TYPE {name} {kind}\n", *(f"{name}{labels} {number}\n" for labels, number in samples)])
