"""The agents: what they are for, their models and tools."""

from fastapi import APIRouter

from app.api.bodies.service import AgentBody, AgentNames, AgentsBody
from app.api.here import Here
from app.api.keys import Owner
from app.api.problems import answers

router = APIRouter(tags=["agents"])


@router.get("/agents", responses=answers())
async def agent_names(here: Here, _: Owner) -> AgentNames:
    """The names of the agents."""
    return AgentNames(agents=[agent.name for agent in here.answerer.catalog])


@router.get("/api/v1/agents", responses=answers())
async def agents(here: Here, _: Owner) -> AgentsBody:
    """The agents, what they are for, their models and tools."""
    listed = [
        AgentBody(
            name=agent.name,
            description=agent.description,
            provider=here.settings.provider,
            model=here.answerer.model_id(agent.name),
            tools=here.answerer.tools(agent.name),
        )
        for agent in here.answerer.catalog
    ]
    return AgentsBody(agents=listed)
