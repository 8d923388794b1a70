"""What runs now, on all backends."""

from fastapi import APIRouter

from app.api.bodies.runs import RunBody, RunsBody
from app.api.here import Here
from app.api.keys import Owner
from app.api.problems import answers
from app.backend import Backend
from app.events import iso

router = APIRouter(prefix="/api/v1", tags=["stop"])


@router.get("/runs", responses=answers(503), response_model_exclude_unset=True)
async def list_runs(here: Here, of: Owner) -> RunsBody:
    """What runs now, on all backends."""
    runs = await live_runs(here, of)
    return RunsBody(runs=runs, count=len(runs))


async def live_runs(here: Backend, of: str) -> list[RunBody]:
    """The caller's live runs, oldest first."""
    held = [one for one in await here.store.leases.all_held() if one.chat.owner == of]
    found = await here.store.memory.live([one.chat for one in held])
    live = [(one.chat, run) for one, run in zip(held, found, strict=True) if run and run.run_id == one.run_id]
    asked = await here.store.approvals.waiting(live)
    runs = [
        RunBody(
            run_id=run.run_id, chat_id=chat.id, agent=run.agent, backend=run.backend,
            started_at=iso(run.started_ms), **({"asked": len(calls)} if calls else {}),
        )
        for (chat, run), calls in zip(live, asked, strict=True)
    ]  # fmt: skip
    return sorted(runs, key=lambda run: run.started_at)
