"""asgiref: `sync_to_async` runs on the waiting thread, and its `Local` keeps its values there.

The core loads this package once `asgiref.local` is imported; `asgiref.sync` imports it too.
"""
