"""What the templates call: numbers and times in words, and the chart, as in the Flask example."""

from django import template

from example_app import chart, words
from example_app.board import Board, Row

register = template.Library()

for _filter in (words.in_ms, words.iso, words.status_line):
    register.filter(_filter)


@register.simple_tag
def latency_chart(row: Row, slots: int) -> str:
    """The latencies of an address as SVG."""
    return chart.latency_chart(row.history, slots=slots, chart_id=f"chart-{row.watched.id}")


@register.filter
def count(board: Board, state: str) -> int:
    """How many addresses are in a state."""
    return board.count(state)


@register.filter
def age(at: float, now: float) -> str:
    """How long ago a time was."""
    return words.ago(now - at)


@register.filter
def percent(share: float) -> str:
    """A share from 0 to 1: "99.5 %"."""
    return f"{share * 100:.4g} %"
