"""A run that is killed any number of times ends with the model of one that never was.

The order of windows, the weights, the optimizer's moments and the best weights, to the bit; on
another memory budget and another number of prefetch threads after each kill.
"""

import random

import pytest

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]

SIGNALS = ("SIGTERM", "SIGKILL")


def points_of_a_save(run, point):
    """Counts what a save of a resumed life passes once there are old states to remove."""
    run.live(point("step", 4), "SIGTERM")
    life = run.live(point("step", 10), "SIGTERM")
    starts = [
        n for n, name in enumerate(life.store_points) if name == "before list_objects claims/"
    ]
    # A save asks twice for a claim above its own: before it writes, and before it removes.
    names = life.store_points[: starts[2]]
    assert any(name.startswith("after put_new steps/") for name in names)
    assert any(name.startswith("after delete") for name in names)
    return [point("store", number) for number in range(1, len(names) + 1)]


def in_chains(new_run, points, signal, calm):
    """Kills at all points, in as many runs as it takes; each must come out as the calm one."""
    number = 0
    while points:
        run = new_run(f"{signal}-{number}")
        points = points[run.chain(points, signal) :]
        assert run.outcome() == calm
        number += 1


@pytest.mark.parametrize("fleet", ["generated"], indirect=True)
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_kill_after_any_step_changes_no_bit(new_run, calm, point, signal):
    steps = [point("step", number) for number in range(1, calm["step"] + 1)]
    assert len(steps) == 12
    in_chains(new_run, steps, signal, calm)


@pytest.mark.parametrize("fleet", ["generated"], indirect=True)
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_kill_anywhere_in_a_save_changes_no_bit(new_run, calm, point, signal):
    points = points_of_a_save(new_run("counted"), point)
    assert len(points) > 20
    in_chains(new_run, points, signal, calm)


def test_twenty_kills_in_a_row_change_no_bit(new_run, point):
    undisturbed, run = new_run("undisturbed", epochs=4), new_run("unlucky", epochs=4)
    assert undisturbed.live().ended
    dice = random.Random(20)
    kills = 0
    while kills < 20:
        # A step that is done soon, or a point of its first save: mostly before it is durable.
        done = max((step for life in run.lives for step in life.ids_of_step), default=0)
        place = (
            point("step", done + 1) if dice.random() < 0.3 else point("store", dice.randint(1, 9))
        )
        life = run.live(place, dice.choice(SIGNALS))
        if life.ended:
            break
        kills += 1
    assert kills == 20
    while not run.live().ended:
        pass
    assert run.outcome() == undisturbed.outcome()
