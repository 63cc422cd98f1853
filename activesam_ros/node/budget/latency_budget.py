"""When the level of the latency budget rises and falls.

It rises when a few frames in a row are late. It falls after many frames in a row that were well
within the budget. If it has to rise again soon, the next attempt to lower it takes twice as many
frames, so that the node does not swing between two levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

LATE_FRAMES = 3
EASY_SHARE = 0.7
EASY_FRAMES = 30
MAX_PATIENCE_FRAMES = 960


@dataclass(frozen=True, slots=True)
class BudgetState:
    """How the budget stands after a frame.

    level: how many steps are taken. late, easy: how many frames in a row were over the budget, or
    under EASY_SHARE of it. patience: easy frames before the level falls. trial: frames left in
    which rising again counts as a failed attempt to lower the level.
    """

    level: int = 0
    late: int = 0
    easy: int = 0
    patience: int = EASY_FRAMES
    trial: int = 0


def observe(state: BudgetState, latency_ms: float, budget_ms: float, highest: int) -> BudgetState:
    """The state after a frame of that latency; ``highest`` is the highest level.

    Without a budget (0) the level is 0.
    """
    if budget_ms <= 0:
        return BudgetState()
    late = state.late + 1 if latency_ms > budget_ms else 0
    easy = state.easy + 1 if latency_ms < EASY_SHARE * budget_ms else 0
    state = replace(
        state, level=min(state.level, highest), late=late, easy=easy, trial=max(state.trial - 1, 0)
    )
    if late >= LATE_FRAMES and state.level < highest:
        failed = state.trial > 0
        patience = min(state.patience * 2, MAX_PATIENCE_FRAMES) if failed else EASY_FRAMES
        return BudgetState(level=state.level + 1, patience=patience)
    if easy >= state.patience and state.level > 0:
        return BudgetState(
            level=state.level - 1, patience=state.patience, trial=2 * state.patience + LATE_FRAMES
        )
    return state
