"""What a call into async code costs, side by side: `python -m benchmarks`.

How it is kept fair:

- every way to call is measured in the same run, in short rounds, in an order shuffled with a fixed
  seed: a change in the machine's speed hits all of them, and the ratios stay;
- what counts are medians over the rounds, and ratios of medians;
- both sides of a ratio do equal work in the same kind of thread: a worker thread, never the main
  one;
- each way is warmed up; nothing sleeps while a clock runs; asyncio's debug mode is off;
- the garbage collector and the switch interval are left as they are in production.
"""
