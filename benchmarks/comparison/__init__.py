"""The same views in other frameworks and on other servers: `python -m benchmarks.comparison`.

How it is kept fair:

- a view does the same work everywhere, with the client that is usual there; clients stay open
  wherever they can;
- each contender is one server process on one core, with 8 threads if it has threads; whoever asks,
  and the services that are called, have the other cores;
- all contenders of a view run at the same time and are asked in turn, in short rounds, in an order
  shuffled with a fixed seed; what counts are medians over the rounds;
- before anything is measured, all of them must give the same answer.
"""
