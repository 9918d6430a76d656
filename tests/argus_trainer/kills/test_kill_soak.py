"""The kill matrix at length (`make soak`): each point alone, and kills without end."""

import random

import pytest

from argus_trainer.training import loop

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3600)]

SIGNALS = ("SIGTERM", "SIGKILL")
NUM_KILLS = 300


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("kind", ["step", "store"])
def test_a_kill_at_any_single_point_changes_no_bit(new_run, calm, point, kind, signal):
    """Every step, and every call of the store in every save of a whole run."""
    counted = new_run("counted")
    life = counted.live()
    total = calm["step"] if kind == "step" else len(life.store_points)
    for number in range(1, total + 1):
        run = new_run(f"{kind}-{number}")
        # How far the training is when a state is on its way differs a little from run to run.
        run.live(point(kind, number), signal)
        while not run.lives[-1].ended:
            run.live()
        assert run.outcome() == calm


def test_hundreds_of_kills_in_a_row_change_no_bit(new_run, point, monkeypatch):
    epochs = 240
    monkeypatch.setattr(loop, "STOPPING_PATIENCE", epochs)
    undisturbed = new_run("undisturbed", epochs=epochs)
    assert undisturbed.live().ended
    run, dice, kills = new_run("unlucky", epochs=epochs), random.Random(300), 0
    while kills < NUM_KILLS:
        done = max((step for life in run.lives for step in life.ids_of_step), default=0)
        soon, early = point("step", done + 1), point("store", dice.randint(1, 9))
        # Until its first save is due a life does many steps, and 300 such lives would end the run.
        if run.live(soon if dice.random() < 0.95 else early, dice.choice(SIGNALS)).ended:
            break
        kills += 1
    assert kills == NUM_KILLS
    while not run.live().ended:
        pass
    assert run.outcome() == undisturbed.outcome()
