"""The Docker driver: a task is a pause container that holds the network namespace and the containers joined to it."""

from moorage.engine.docker.engine import DockerEngine, HostFacts

__all__ = ["DockerEngine", "HostFacts"]
