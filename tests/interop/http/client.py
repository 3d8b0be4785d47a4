"""A client that was generated from `/openapi.json`, against the server the description came from.

    client.py DIRECTORY URL TOKEN

DIRECTORY holds the package `generated`.
"""

from __future__ import annotations

import sys
import time

directory, url, token = sys.argv[1:4]
sys.path.insert(0, directory)

from generated import AuthenticatedClient, Client  # noqa: E402
from generated.api.agents import list_agents  # noqa: E402
from generated.api.description import describe  # noqa: E402
from generated.api.jobs import cancel_job, get_job, get_result, list_jobs, submit_job  # noqa: E402
from generated.api.questions import answer_question, list_questions, send_message  # noqa: E402
from generated.api.schedules import (  # noqa: E402
    list_schedules,
    pause_schedule,
    resume_schedule,
    run_schedule,
)
from generated.models import (  # noqa: E402
    Answer,
    Cancel,
    Job,
    Message,
    Problem,
    ScheduleRun,
    Submit,
)

client = AuthenticatedClient(base_url=url, token=token)


def submitted(agent: str, given: object, **more: str) -> Job:
    response = submit_job.sync_detailed(
        client=client, body=Submit(agent=agent, input_=given), **more
    )
    assert response.status_code in (200, 202), response
    assert response.headers["location"] == f"/v1/jobs/{response.parsed.job_id}"
    return response.parsed


def ended(job: str) -> Job:
    while True:
        now = get_job.sync(job, client=client)
        if now.status not in ("pending", "running"):
            return now
        time.sleep(0.05)


def jobs() -> None:
    done = submitted("echo", {"hi": 1}, prefer="wait=30", idempotency_key="generated-1")
    assert (done.status, done.result) == ("success", {"hi": 1}), done
    again = submitted("echo", {"hi": 1}, idempotency_key="generated-1")
    assert again.job_id == done.job_id
    assert get_result.sync(done.job_id, client=client) == {"hi": 1}
    listed = list_jobs.sync(client=client, agent="echo", limit=5)
    assert [job.job_id for job in listed.jobs] == [done.job_id]
    assert listed.next_cursor is None
    assert any(agent.name == "echo" for agent in list_agents.sync(client=client).agents)


def cancelling() -> None:
    long = submitted("sleep", {"ms": 3_600_000})
    refused = get_result.sync(long.job_id, client=client)
    assert isinstance(refused, Problem) and refused.status == 409, refused
    cancelled = cancel_job.sync(long.job_id, client=client, body=Cancel(reason="enough"))
    assert cancelled.job_id == long.job_id
    assert ended(long.job_id).status == "cancelled"


def questions() -> None:
    asks = submitted("ask", {"kind": "text", "title": "colour"})
    mine: list[dict[str, object]] = []
    while not mine:
        mine = [q for q in list_questions.sync(client=client).questions
                if q["job_id"] == asks.job_id]
    answer = Answer(question_id=mine[0]["question_id"], answer="blue")
    assert answer_question.sync(asks.job_id, client=client, body=answer).job_id == asks.job_id
    assert ended(asks.job_id).result == {"outcome": "answered", "answer": "blue"}
    listens = submitted("listen", {"n": 1})
    told = send_message.sync(listens.job_id, client=client, body=Message(body="hurry"))
    assert told.job_id == listens.job_id
    assert ended(listens.job_id).status == "success"


def schedules() -> None:
    [leap] = list_schedules.sync(client=client, next_=2).schedules
    assert (leap.name, leap.paused, len(leap.next_)) == ("leap", False, 2), leap
    assert pause_schedule.sync("leap", client=client).paused
    assert not resume_schedule.sync("leap", client=client).paused
    run = run_schedule.sync("leap", client=client)
    assert isinstance(run, ScheduleRun), run
    assert ended(run.job_id).result == 7


def refusals() -> None:
    nobody = get_job.sync("job_none", client=client)
    assert isinstance(nobody, Problem) and nobody.code == "JOB_NOT_FOUND", nobody
    with Client(base_url=url) as stranger:
        assert list_agents.sync_detailed(client=stranger).status_code == 401
        assert describe.sync_detailed(client=stranger).status_code == 200


for scenario in (jobs, cancelling, questions, schedules, refusals):
    scenario()
