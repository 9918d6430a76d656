"""Whether a resumed attempt computes what an undisturbed one would have: to the bit, or not.

Equal bits need the same image, device, CPU instruction set and number of threads. What differs
is recorded once and stays with every later state: a run never becomes exact again. What holds
everywhere is the order of windows, each once.
"""

from collections.abc import Mapping

from argus_contract.layout import StepId


def difference(was: Mapping[str, str], now: Mapping[str, str], step_id: StepId) -> str | None:
    """Returns why a state saved under the versions `was` cannot go on exactly under `now`."""
    differing = [
        f"{name} {was.get(name, 'unknown')} is {now.get(name, 'unknown')} now"
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    ]
    if not differing:
        return None
    return f"the state of step {step_id.step} was resumed elsewhere: {', '.join(differing)}"
