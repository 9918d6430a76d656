"""Trainers that only talk: one server that answers `/progress` for every simulated pod.

Each answer is a step further than the one before. Started by `benchmarks.operator` as a process
of its own: python -m benchmarks.operator_progress FILE, where FILE maps an address to the run's
key and the name of its pod.
"""

import json
import sys
from pathlib import Path

from aiohttp import web

from argus_contract.names import PROGRESS_PATH
from stage.talking_trainers import listener, report_at, to_wire


def application(trainers: dict[str, tuple[str, str]]) -> web.Application:
    """Returns the server; `trainers`: run key and pod of each address."""
    steps = dict.fromkeys(trainers, 1000)

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        if address not in trainers:
            return web.Response(status=404)
        steps[address] += 100
        text = to_wire(report_at(steps[address], *trainers[address]))
        return web.Response(text=text, content_type="application/json")

    app = web.Application()
    app.router.add_get(PROGRESS_PATH, answer)
    return app


if __name__ == "__main__":
    known = json.loads(Path(sys.argv[1]).read_text())
    app = application({address: (key, pod) for address, (key, pod) in known.items()})
    web.run_app(app, sock=listener(), print=None)
