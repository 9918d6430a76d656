"""Asks trainers how far they are.

Trainer pods run code of others, so an answer is taken with care: no redirects, 64 KiB,
2 seconds, and only what `reports` takes. A trainer that does not answer has
unknown progress, which is no fault. However slowly one answers, it holds no worker: others work
meanwhile. One that does not answer in time is asked less and less often, so that many of them
(behind a network policy that drops, for example) do not hold the connections of others.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address

import aiohttp

from argus_contract.names import MAX_REPORT_BYTES, PROGRESS_PATH, PROGRESS_PORT
from argus_contract.progress import ProgressReport
from argus_operator.observed import Poll
from argus_operator.reports import NoReport, read_report
from argus_operator.views import PodView

TIMEOUT = aiohttp.ClientTimeout(total=2)
LONGEST_INTERVAL = timedelta(minutes=5)
"""Of a pod that has let us wait again and again."""


class ProgressReader:
    """Reads `/progress` of pods and remembers the newest report of each."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        waiting: Callable[[], AbstractAsyncContextManager[None]],
        port: int = PROGRESS_PORT,
    ) -> None:
        """`waiting` is entered while a pod is asked."""
        self._session = session
        self._waiting = waiting
        self._port = port
        self._polls: dict[str, Poll] = {}
        self._timeouts: Counter[str] = Counter()
        """How often in a row, by uid."""

    async def poll(self, pod: PodView, now: datetime, interval: timedelta) -> None:
        """Asks the pod, unless it was asked less than `interval` ago."""
        last = self._polls.get(pod.uid)
        interval = self._lengthened(pod, interval)
        # A wake-up that comes a moment early must not skip a whole interval.
        # Nor must a clock that was set back.
        if last and timedelta() <= now - last.at < interval * 0.9:
            return
        async with self._waiting():
            report, failure = await self._ask(pod)
        if report is None and last:
            report = last.report
        failures = (last.failures if last else 0) + 1 if failure else 0
        self._polls[pod.uid] = Poll(at=now, report=report, failure=failure, failures=failures)

    def _lengthened(self, pod: PodView, interval: timedelta) -> timedelta:
        doubled = interval * (1 << min(self._timeouts[pod.uid], 16))
        return max(interval, min(doubled, LONGEST_INTERVAL))

    def polls_of(self, pods: tuple[PodView, ...]) -> dict[str, Poll]:
        """Returns the newest polls of these pods by uid."""
        return {pod.uid: self._polls[pod.uid] for pod in pods if pod.uid in self._polls}

    def forget(self, pods: tuple[PodView, ...]) -> None:
        for pod in pods:
            self._polls.pop(pod.uid, None)
            self._timeouts.pop(pod.uid, None)

    async def _ask(self, pod: PodView) -> tuple[ProgressReport | None, str | None]:
        if pod.ip is None:
            return None, "the pod has no address yet"
        address = ip_address(pod.ip)
        host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        url = f"http://{host}:{self._port}{PROGRESS_PATH}"
        failures, self._timeouts[pod.uid] = self._timeouts[pod.uid], 0
        try:
            async with self._session.get(
                url,
                timeout=TIMEOUT,
                allow_redirects=False,
                # What is sent is what is read: nothing small becomes large here.
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
            ) as response:
                if response.status != 200:
                    return None, f"{url} answered {response.status}"
                body = await _read_at_most(response, MAX_REPORT_BYTES)
        except TimeoutError:
            self._timeouts[pod.uid] = failures + 1
            return None, f"{url} did not answer within {TIMEOUT.total:.0f} s"
        except (aiohttp.ClientError, OSError) as error:
            return None, f"{url} did not answer ({error or type(error).__name__})"
        if body is None:
            return None, f"{url} answered more than {MAX_REPORT_BYTES} bytes"
        try:
            return read_report(body, pod.run_key), None
        except NoReport as why:
            return None, f"{url} answered what is no report of this run ({why})"


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Returns the body, or None if it is longer than `limit` bytes."""
    body = b""
    async for chunk in response.content.iter_chunked(limit):
        body += chunk
        if len(body) > limit:
            return None
    return body
