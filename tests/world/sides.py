"""One backend per provider: three of them on the wire, the demo beside them."""

from dataclasses import dataclass

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.model import FakeModel

NUMBER = {"ollama": 1, "bedrock": 2, "demo": 3, "openai": 4}


@dataclass(frozen=True)
class Side:
    """One provider: the backend that uses it and the fake behind."""

    name: str
    cluster: Cluster
    fake: FakeModel

    def client(self) -> Client:
        return self.cluster.client(NUMBER[self.name])
