"""The steps of benchmarks.gpu, in their order; each file has those of one kind."""

from benchmarks.gpu_steps import demo, kernels, logs, machine, matrices, rankers, sessions, vectors
from benchmarks.gpu_steps.step import Step

# limits of the device's halves, but for `selfmerge`, add up to the budget of the whole
STEPS = {
    step.name: step
    for step in (
        Step("logs", None, logs.beside, 25, 20),
        Step("machine", machine.on, None, 20, 15),
        Step("kernels", kernels.on, kernels.beside, 20, 15, ("kernels",)),
        Step("chains", kernels.chains, kernels.chains, 50, 45, (), kernels.compare),
        Step("rules", matrices.rules_on, matrices.rules_beside, 20, 15, ("logs",), matrices.compare, matrices.of_rowwise),
        Step("worlds", None, logs.worlds_beside, 25, 20),
        Step("large", matrices.large_on, matrices.large_beside, 60, 40, ("logs",), matrices.compare, matrices.of_rowwise),
        Step("sessions", sessions.halves, sessions.halves, 30, 20, ("worlds",), sessions.compare),
        Step("vectors", vectors.halves, vectors.halves, 25, 15, ("worlds",), vectors.compare),
        Step("training", rankers.training_on, rankers.training, 25, 20, (), rankers.compare),
        Step("scoring", rankers.scoring, rankers.scoring, 15, 15),
        Step("demo", demo.halves, demo.halves, 30, 60, (), demo.compare),
        Step("tests", demo.tests, None, 25, 60),
        Step("report", None, machine.beside, 20, 60),
        Step(
            "selfmerge", matrices.selfmerge_on, matrices.selfmerge_beside, 60, 30, (), matrices.compare, matrices.of_rowwise,
            alone=True,
        ),
    )
}  # fmt: skip
