"""Where the board's data is: a SQLite file, or PostgreSQL, which several hosts can share.

Both have a `turn`, an async transaction on what each loop keeps open as a loop resource, and an
`opened`, a sync one for what comes before there is a loop. All statements are written once, for
both, with parameters as `:name`.
"""
