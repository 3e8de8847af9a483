"""asgiref: `sync_to_async` runs on the thread that waits, and its `Local` goes along.

Loaded by the core when somebody has imported `asgiref.local`, which `asgiref.sync` does too.
"""
