"""The state machine: at every step some action, after every step all rows compared."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from operator_actions import OperatorActions
from worker_actions import WorkerActions

# How often each action is taken, before each run weighs them anew.
WEIGHTS = {
    "claim": 9,
    "clock_comes_to_what_is_due": 5,
    "fail": 4,
    "complete": 2,
    "renew": 3,
    "append_kept_frame": 3,
    "append_telemetry": 2,
    "progress": 2,
    "claim_from_grant": 3,
    "issue_grant": 2,
    "create": 2,
    "replay": 2,
    "sweep": 2,
    "clock_goes_on": 2,
    "clock_steps_back": 2,
    "create_many": 1,
    "create_again": 1,
    "revoke": 1,
    "cancel": 1,
    "change_priority": 1,
    "append_what_is_no_object": 1,
    "show_what_is_no_handle": 1,
}
NEED_A_HANDLE = {
    "fail",
    "complete",
    "renew",
    "append_kept_frame",
    "append_telemetry",
    "append_what_is_no_object",
    "progress",
    "revoke",
    "show_what_is_no_handle",
}
NEED_ROOM = {"create", "create_many"}


class LedgerMachine(WorkerActions, OperatorActions, RuleBasedStateMachine):
    """Takes actions, some runs favouring some of them and leaving others out."""

    def teardown(self) -> None:
        self.finish()

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.weights = {
            name: weight * data.draw(st.sampled_from([1, 1, 1, 0, 3]))
            for name, weight in WEIGHTS.items()
        }
        self.weights["claim"] = WEIGHTS["claim"]
        self.create(data)
        self.create(data)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        impossible: set[str] = set() if self.handles else set(NEED_A_HANDLE)
        impossible |= set() if self.has_room() else NEED_ROOM
        impossible |= set() if self.grants else {"claim_from_grant"}
        names = [
            name
            for name, weight in self.weights.items()
            for _ in range(weight)
            if name not in impossible
        ]
        getattr(self, data.draw(st.sampled_from(names)))(data)

    @invariant()
    def rows_are_those_of_the_model(self) -> None:
        self.compare_rows()
