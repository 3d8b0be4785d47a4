"""The published Python client against `towline serve --demo`, one scenario a run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import arcp
from arcp import LeaseConstraints, ListJobsFilter, SessionResume
from arcp._client.handles import JobHandle
from arcp.client import AutoAckOptions
from harness import Peer, kinds_of, refused, run


async def hello(peer: Peer) -> None:
    client, transport = await peer.connect()
    welcome = client.welcome
    assert welcome.session_id == client.session_id == transport.received[0]["session_id"]
    assert welcome.resume_window_sec > 0 and welcome.heartbeat_interval_sec > 0
    for feature in ("heartbeat", "ack", "list_jobs", "subscribe", "lease_expires_at", "cost.budget",
                    "progress", "result_chunk", "agent_versions"):
        assert client.has_feature(feature), feature
    agents = {agent.name: agent for agent in welcome.capabilities.agents}
    assert agents["versioned"].versions == ("1.0.0", "2.0.0")
    assert agents["versioned"].default == "2.0.0"
    assert agents["echo"].versions == () and agents["echo"].default is None


async def unauthenticated(peer: Peer) -> None:
    client = peer.client(token="not-a-token")
    transport = await peer.transport()
    await refused(client.connect(transport), arcp.UnauthenticatedError)
    assert transport.received[0]["session_id"]


async def every_kind(peer: Peer) -> None:
    client, transport = await peer.connect()
    handle = await client.submit(agent="kinds", input={}, trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    assert handle.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    events = [event async for event in handle.events()]
    seen = kinds_of(events)
    assert seen[0] == "status" and events[0]["body"] == {"phase": "running"}
    assert set(seen) >= {"log", "thought", "tool_call", "tool_result", "status", "metric",
                         "artifact_ref", "progress"}, seen
    done = await handle.done
    assert done.final_status == "success" and done.result == {"ok": True}
    numbers = [frame["event_seq"] for frame in transport.numbered()]
    assert numbers == list(range(1, len(events) + 2)), numbers
    assert all(frame["trace_id"] == handle.trace_id for frame in transport.numbered())


async def streamed_results(peer: Peer) -> None:
    client, _ = await peer.connect()
    text = await client.submit(agent="stream", input={"chunks": 3, "bytes": 1000})
    binary = await client.submit(agent="stream", input={"chunks": 4, "bytes": 300_000, "binary": True})
    assert await text.collect_chunks() == b"a" * 3000
    collected = await binary.collect_chunks()
    assert collected == bytes(at % 256 for at in range(1_200_000))
    for handle, size in ((text, 3000), (binary, 1_200_000)):
        done = await handle.done
        assert done.final_status == "success" and done.result is None
        assert done.result_id and done.result_size == size


async def cancel(peer: Peer) -> None:
    client, transport = await peer.connect()
    handle = await client.submit(agent="sleep", input={"ms": 600_000})
    await client.cancel_job(handle.job_id, reason="enough")
    done = await handle.done
    assert done.final_status == "cancelled"
    assert transport.of_type("job.cancelled")[0]["payload"]["reason"] == "enough"


async def cancel_too_late_harms_nobody(peer: Peer) -> None:
    """This client fails every job on a `session.error`, and nobody waits for the answer to a cancel."""
    client, transport = await peer.connect()
    long = await client.submit(agent="sleep", input={"ms": 600_000})
    short = await client.submit(agent="echo", input=1)
    assert (await short.done).result == 1
    await client.cancel_job(short.job_id)
    await client.cancel_job("job_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    # Requests are answered in order, so after this one the two above have been dealt with.
    await client.list_jobs()
    assert not transport.of_type("session.error")
    await client.cancel_job(long.job_id)
    assert (await long.done).final_status == "cancelled"


async def timeout(peer: Peer) -> None:
    client, _ = await peer.connect()
    handle = await client.submit(agent="sleep", input={"ms": 600_000}, max_runtime_sec=1)
    assert (await handle.done).final_status == "timed_out"


async def listing(peer: Peer) -> None:
    client, _ = await peer.connect()
    jobs = []
    for at in range(5):
        handle = await client.submit(agent="echo", input=at)
        await handle.done
        jobs.append(handle.job_id)
    failing = await client.submit(agent="fail", input={})
    await refused(failing.done, arcp.InternalError)
    echoes, cursor = [], None
    while True:
        page = await client.list_jobs(filter=ListJobsFilter(agent="echo"), limit=2, cursor=cursor)
        echoes += [job.job_id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert echoes == jobs
    failed = await client.list_jobs(filter=ListJobsFilter(status=("error",)))
    assert [job.job_id for job in failed.jobs] == [failing.job_id]
    assert failed.jobs[0].trace_id == failing.trace_id


async def subscribe_with_history(peer: Peer) -> None:
    submitter, _ = await peer.connect()
    watcher, transport = await peer.connect()
    handle = await submitter.submit(agent="chatty", input={"n": 200, "delay_ms": 2})
    events = handle.events()
    first = [await anext(events) for _ in range(20)]
    watched = await watcher.subscribe(handle.job_id, history=True)
    theirs = [event async for event in watched.handle.events()]
    mine = first + [event async for event in events]
    assert theirs == mine and len(mine) == 401
    assert (await watched.handle.done).result == (await handle.done).result == {"emitted": 200}
    numbers = [frame["event_seq"] for frame in transport.numbered()]
    assert numbers == list(range(1, 403))
    late = await watcher.subscribe(handle.job_id, history=True, from_event_seq=400)
    assert len([event async for event in late.handle.events()]) == 1
    assert (await late.handle.done).final_status == "success"


async def unsubscribe(peer: Peer) -> None:
    submitter, _ = await peer.connect()
    watcher, transport = await peer.connect()
    handle = await submitter.submit(agent="sleep", input={"ms": 600_000})
    await watcher.subscribe(handle.job_id, history=False)
    await watcher.unsubscribe(handle.job_id)
    await watcher.list_jobs()
    await submitter.cancel_job(handle.job_id)
    await handle.done
    await watcher.list_jobs()
    assert not transport.of_type("job.result"), transport.received


async def acknowledgement_and_ping(peer: Peer) -> None:
    """Started with a heartbeat of one second: this client never pings, and is pinged when it is silent."""
    client, transport = await peer.connect(auto_ack=AutoAckOptions(every_n=1, interval_sec=0.01))
    handle = await client.submit(agent="echo", input=1)
    await handle.done
    await client.ack(client.latest_event_seq)
    pings = await transport.until("session.ping", 4)
    assert len({ping["payload"]["nonce"] for ping in pings}) == len(pings)
    # More than two intervals have passed, and the session lives.
    handle = await client.submit(agent="echo", input=2)
    assert (await handle.done).result == 2


async def budget(peer: Peer) -> None:
    client, _ = await peer.connect()
    handle = await client.submit(
        agent="spend",
        input={"costs": [["USD", 0.4], ["USD", 0.4], ["USD", 0.4], ["USD", 0.4]]},
        lease_request={"cost.budget": ["USD:1.00"], "tool.call": ["search.*"]},
    )
    assert handle.budget == {"USD": "USD:1.00"}
    events = [event async for event in handle.events()]
    left = [event["body"]["value"] for event in events
            if event["kind"] == "metric" and event["body"]["name"] == "cost.budget.remaining"]
    assert left == [0.6, 0.2, -0.2], left
    assert (await handle.done).result == {"calls": 3, "refused": "BUDGET_EXHAUSTED"}
    refusals = [event["body"]["error"] for event in events
                if event["kind"] == "tool_result" and "error" in event["body"]]
    assert [refusal["code"] for refusal in refusals] == ["BUDGET_EXHAUSTED"]


async def lease_expires(peer: Peer) -> None:
    client, _ = await peer.connect()
    soon = datetime.now(UTC) + timedelta(seconds=1)
    handle = await client.submit(
        agent="sleep",
        input={"ms": 600_000},
        lease_request={"fs.read": ["/data/**"]},
        lease_constraints=LeaseConstraints(expires_at=soon.isoformat().replace("+00:00", "Z")),
    )
    assert handle.lease == {"fs.read": ["/data/**"]}
    assert handle.lease_constraints.expires_at
    error = await refused(handle.done, arcp.LeaseExpiredError)
    assert error.retryable is False


async def versions(peer: Peer) -> None:
    client, _ = await peer.connect()
    for asked, got in (("versioned", "2.0.0"), ("versioned@1.0.0", "1.0.0")):
        handle = await client.submit(agent=asked, input={})
        assert handle.agent_ref == f"versioned@{got}"
        assert (await handle.done).result == {"version": got}
    await refused(client.submit(agent="versioned@9.9.9"), arcp.AgentVersionNotAvailableError)


async def idempotency(peer: Peer) -> None:
    client, _ = await peer.connect()
    first = await client.submit(agent="echo", input={"a": 1}, idempotency_key="k")
    assert (await first.done).result == {"a": 1}
    # This SDK's runtime repeats the end of a finished job, and its client waits for that.
    again = await client.submit(agent="echo", input={"a": 1}, idempotency_key="k")
    assert again.job_id == first.job_id
    assert (await again.done).result == {"a": 1}
    other, _ = await peer.connect()
    elsewhere = await other.submit(agent="echo", input={"a": 1}, idempotency_key="k")
    assert elsewhere.job_id == first.job_id
    assert (await elsewhere.done).result == {"a": 1}
    # While it runs: the same job, and one end.
    asked = [other.submit(agent="chatty", input={"n": 20, "delay_ms": 5}, idempotency_key="run") for _ in range(3)]
    handles = await asyncio.gather(*asked)
    assert len({handle.job_id for handle in handles}) == 1
    refusal = await refused(client.submit(agent="echo", input={"a": 2}, idempotency_key="k"), arcp.DuplicateKeyError)
    assert refusal.details == {"existing_job_id": first.job_id}


async def failed_job_found_by_key(peer: Peer) -> None:
    client, _ = await peer.connect()
    for _ in range(2):
        handle = await client.submit(agent="fail", input={"code": "PERMISSION_DENIED"}, idempotency_key="f")
        await refused(handle.done, arcp.PermissionDeniedError)


async def errors(peer: Peer) -> None:
    client, _ = await peer.connect()
    await refused(client.submit(agent="nobody"), arcp.AgentNotAvailableError)
    await refused(client.submit(agent="echo", lease_request={"fs.raed": ["/a"]}), arcp.InvalidRequestError)
    await refused(client.subscribe("job_01ARZ3NDEKTSV4RRFFQ69G5FAV"), arcp.JobNotFoundError)
    for asked, error in (
        ({"code": "PERMISSION_DENIED", "message": "not today"}, arcp.PermissionDeniedError),
        ({"panic": True}, arcp.InternalError),
    ):
        handle = await client.submit(agent="fail", input=asked)
        refusal = await refused(handle.done, error)
        assert refusal.message
    handle = await client.submit(agent="echo", input="still here")
    assert (await handle.done).result == "still here"


async def too_big_for_this_client(peer: Peer) -> None:
    """This client reads frames of at most 1 MiB; a result above that fails alone, and the session lives on."""
    client, _ = await peer.connect()
    big = await client.submit(agent="echo", input="x" * 1_048_576)
    error = await refused(big.done, arcp.InternalError)
    assert "stream it" in error.message, error.message
    handle = await client.submit(agent="echo", input="x" * 900_000)
    assert len((await handle.done).result) == 900_000


async def delegation(peer: Peer) -> None:
    """A child's acceptance reaches the submitting session; this client would take it for that of its oldest submit."""
    client, transport = await peer.connect()
    asked = [
        client.submit(
            agent="delegate",
            input={"agent": "echo", "input": at},
            lease_request={"agent.delegate": ["echo"]},
        )
        for at in range(20)
    ]
    for at, handle in enumerate(await asyncio.gather(*asked)):
        done = await handle.done
        assert done.result["status"] == "success" and done.result["result"] == at, done
        assert handle.agent_ref == "delegate"
    children = {frame["job_id"] for frame in transport.numbered()} - {
        frame["job_id"] for frame in transport.of_type("job.accepted")
    }
    assert len(children) == 20


async def resume_running_job(peer: Peer) -> None:
    client, before = await peer.connect()
    handle = await client.submit(agent="chatty", input={"n": 300, "delay_ms": 2})
    seen = []
    async for event in handle.events():
        seen.append(event)
        if len(seen) == 40:
            break
    welcome = client.welcome
    # The socket is cut, with no Close frame, while the job goes on.
    before.inner._conn.transport.abort()
    await refused(handle.done, Exception)
    async for event in handle.events():
        seen.append(event)
    last = client.latest_event_seq

    again = peer.client()
    # The SDK gives no handle for a job of before: what it would do for a submit is done by hand.
    taken_up = JobHandle(job_id=handle.job_id, accepted=handle.accepted)
    again._handles[handle.job_id] = taken_up
    after = await peer.transport()
    resumed = await again.resume(
        after,
        resume=SessionResume(
            session_id=welcome.session_id, resume_token=welcome.resume_token, last_event_seq=last
        ),
    )
    assert resumed.session_id == welcome.session_id and resumed.resume_token != welcome.resume_token
    seen += [event async for event in taken_up.events()]
    assert (await taken_up.done).result == {"emitted": 300}
    logged = [event["body"]["message"] for event in seen if event["kind"] == "log"]
    assert logged == [f"line {at}" for at in range(1, 301)]
    numbers = [frame["event_seq"] for frame in before.numbered() + after.numbered()]
    assert numbers == list(range(1, 603)), numbers
    # A token is good until the client was heard with the next one.
    await again.list_jobs()
    stale = SessionResume(session_id=welcome.session_id, resume_token=welcome.resume_token, last_event_seq=last)
    await refused(peer.client().resume(await peer.transport(), resume=stale), arcp.ResumeWindowExpiredError)


async def resume_cancels(peer: Peer) -> None:
    """The resumed session has the authority of the one before."""
    client, before = await peer.connect()
    handle = await client.submit(agent="sleep", input={"ms": 600_000})
    welcome, last = client.welcome, client.latest_event_seq
    before.inner._conn.transport.abort()
    again = peer.client()
    taken_up = JobHandle(job_id=handle.job_id, accepted=handle.accepted)
    again._handles[handle.job_id] = taken_up
    await again.resume(
        await peer.transport(),
        resume=SessionResume(
            session_id=welcome.session_id, resume_token=welcome.resume_token, last_event_seq=last
        ),
    )
    # A replayed acceptance must not be taken for the answer to this submit.
    other = await again.submit(agent="echo", input="new")
    assert (await other.done).result == "new"
    await again.cancel_job(handle.job_id)
    assert (await taken_up.done).final_status == "cancelled"


async def close(peer: Peer) -> None:
    client, transport = await peer.connect()
    handle = await client.submit(agent="echo", input=1)
    await handle.done
    await client.close(reason="done")
    assert transport.is_closed
    # The session stays resumable.
    again = peer.client()
    welcome = await again.resume(
        await peer.transport(),
        resume=SessionResume(
            session_id=client.session_id,
            resume_token=client.welcome.resume_token,
            last_event_seq=client.latest_event_seq,
        ),
    )
    assert welcome.session_id == client.session_id


if __name__ == "__main__":
    run(globals())
