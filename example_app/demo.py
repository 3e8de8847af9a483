"""Endpoints of the service's own: the board shows something at once, without a network."""

import math
import random
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demo:
    """How one endpoint answers, after how many seconds."""

    status: int
    text: str
    seconds: float


def demo(name: str) -> Demo | None:
    """The endpoint of that name as it answers now, or None."""
    match name:
        case "fast":
            return Demo(200, "At once.\n", 0.0)
        case "slow":
            # A slow wave with some noise, to give the chart something to draw.
            wave = math.sin(time.time() / 30)
            noise = random.uniform(-0.05, 0.05)  # noqa: S311 - nobody is to be kept from guessing it
            return Demo(200, "In a while.\n", 0.35 + 0.2 * wave + noise)
        case "failing":
            return Demo(503, "Out of order, always.\n", 0.0)
        case _:
            return None


DEMO_PATHS = ("/demo/fast", "/demo/slow", "/demo/failing")
