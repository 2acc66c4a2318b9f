"""The servers of a scenario's fleet."""

from __future__ import annotations

from app.drills.scenario import MemberSettings
from router.sim.server import Server
from router.sim.service import Cancelled, Service

OF_THE_GATEWAY = ("name", "kind")


def service_of(member: MemberSettings) -> Service:
    """Raises ``ValueError``, "field: what is allowed"."""
    given = {key: getattr(member, key) for key in type(member).model_fields if key not in OF_THE_GATEWAY}
    capacity = given.pop("capacity")
    if capacity is not None:
        given["capacity"] = capacity.levels
    return Service(**{**given, "cancelled": Cancelled(given["cancelled"])})


def server_of(member: MemberSettings, seed: int) -> Server:
    return Server(member.name, service_of(member), seed=seed)
